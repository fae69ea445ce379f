//! A real object store, by its URL: S3 and what speaks as it does, Google Cloud Storage, Azure, a folder.
//!
//! Credentials come from where each provider's own tools have them (environment, files it names, instance, workload identity), never out
//! of the URL, which is shown to people.

use super::http::Connector;
use super::objects::{Listed, Objects, ObjectsError};
use crate::store::BoxFuture;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Error, ObjectStore, ObjectStoreExt as _, RetryConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A call takes no longer, all its tries together.
const CALL: Duration = Duration::from_secs(60);
/// So much of what an object store says is told.
const SAID_MAX: usize = 400;

/// Why a URL names no object store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It is none that is known.
    #[error("an object store is s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER")]
    Scheme,
    /// It names no bucket, or a path that none has.
    #[error("the URL names {0}")]
    Path(&'static str),
    /// Something is in it that does not belong there, such as a password.
    #[error(
        "a URL of an object store has no {0}: credentials come from the environment, from files that it names, or from the instance, as for \
         the provider's own tools"
    )]
    Credentials(&'static str),
    /// An option that there is not.
    #[error("of an object store's URL the options are endpoint=URL and region=NAME, both for s3:// alone")]
    Options,
    /// The folder is not there, or is none.
    #[error("the folder {path} cannot be used: {message}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// What the environment says does not do.
    #[error("the object store cannot be spoken with: {0}")]
    Settings(String),
}

/// Where objects lie, as a URL says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// S3, or what speaks as it does at an endpoint.
    S3 {
        /// The bucket.
        bucket: String,
        /// The folder in it.
        prefix: String,
        /// Where, if that is not AWS.
        endpoint: Option<String>,
        /// The region.
        region: Option<String>,
    },
    /// Google Cloud Storage.
    Google {
        /// The bucket.
        bucket: String,
        /// The folder in it.
        prefix: String,
    },
    /// Azure Blob Storage; the environment says in which account.
    Azure {
        /// The container.
        container: String,
        /// The folder in it.
        prefix: String,
    },
    /// A folder, such as of a network's file system.
    Folder(PathBuf),
}

impl Place {
    /// Reads a URL. What is wrong with it is told without showing it.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn parse(url: &str) -> Result<Self, PlaceError> {
        let (scheme, rest) = url.split_once("://").ok_or(PlaceError::Scheme)?;
        if rest.contains('#') {
            return Err(PlaceError::Credentials("fragment"));
        }
        let (rest, options) = rest.split_once('?').map_or((rest, None), |(rest, options)| (rest, Some(options)));
        if scheme == "file" {
            return match (rest.starts_with('/'), options) {
                (_, Some(_)) => Err(PlaceError::Options),
                (true, None) => Ok(Self::Folder(PathBuf::from(rest))),
                (false, None) => Err(PlaceError::Path("no folder: file:///srv/logs has three slashes")),
            };
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(['@', ':']) {
            return Err(PlaceError::Credentials("user, password or port"));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'$');
        if bucket.is_empty() || !bucket.bytes().all(plain) {
            return Err(PlaceError::Path("no bucket"));
        }
        let prefix = prefix.trim_end_matches('/');
        let well = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_graphic());
        if !prefix.is_empty() && !prefix.split('/').all(well) {
            return Err(PlaceError::Path("a folder with empty parts, dots, spaces or the like"));
        }
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        match (scheme, options) {
            ("s3", options) => {
                let (endpoint, region) = s3_options(options.unwrap_or_default())?;
                Ok(Self::S3 { bucket, prefix, endpoint, region })
            }
            ("gs", None) => Ok(Self::Google { bucket, prefix }),
            ("az", None) => Ok(Self::Azure { container: bucket, prefix }),
            ("gs" | "az", Some(_)) => Err(PlaceError::Options),
            _ => Err(PlaceError::Scheme),
        }
    }

    /// The objects there. Of buckets nothing is asked yet; a folder has to be there.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn open(&self) -> Result<Arc<dyn Objects>, PlaceError> {
        let settings = |error: Error| PlaceError::Settings(said(&error));
        let connector = |secure| Connector::new(secure).map_err(PlaceError::Settings);
        let (store, prefix): (Box<dyn ObjectStore>, &str) = match self {
            Self::S3 { bucket, prefix, endpoint, region } => {
                let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry());
                let plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
                builder = builder.with_http_connector(connector(!plain)?);
                if let Some(region) = region {
                    builder = builder.with_region(region);
                }
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint).with_allow_http(plain);
                }
                (Box::new(builder.build().map_err(settings)?), prefix)
            }
            Self::Google { bucket, prefix } => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry());
                (Box::new(builder.with_http_connector(connector(true)?).build().map_err(settings)?), prefix)
            }
            Self::Azure { container, prefix } => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retry());
                (Box::new(builder.with_http_connector(connector(true)?).build().map_err(settings)?), prefix)
            }
            Self::Folder(path) => {
                let unusable = |message: String| PlaceError::Folder { path: path.clone(), message };
                // One that is made where a disk should be mounted would hide that it is not.
                if !std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?.is_dir() {
                    return Err(unusable("it is no folder".to_owned()));
                }
                let store = LocalFileSystem::new_with_prefix(path).map_err(|error| unusable(said(&error)))?;
                (Box::new(store.with_automatic_cleanup(true).with_fsync(true)), "")
            }
        };
        let folder = if let Self::Folder(path) = self { Some(path.clone()) } else { None };
        let store: Arc<dyn ObjectStore> = match prefix {
            "" => store.into(),
            prefix => {
                Arc::new(PrefixStore::new(store, Path::parse(prefix).map_err(|_| PlaceError::Path("no folder"))?))
            }
        };
        Ok(Arc::new(Bucket { store, folder }))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let folder = |prefix: &str| if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        match self {
            Self::S3 { bucket, prefix, endpoint: None, .. } => write!(f, "s3://{bucket}{}", folder(prefix)),
            Self::S3 { bucket, prefix, endpoint: Some(at), .. } => write!(f, "s3://{bucket}{} at {at}", folder(prefix)),
            Self::Google { bucket, prefix } => write!(f, "gs://{bucket}{}", folder(prefix)),
            Self::Azure { container, prefix } => write!(f, "az://{container}{}", folder(prefix)),
            Self::Folder(path) => write!(f, "file://{}", path.display()),
        }
    }
}

/// Endpoint and region.
fn s3_options(options: &str) -> Result<(Option<String>, Option<String>), PlaceError> {
    let (mut endpoint, mut region) = (None, None);
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("endpoint", url)) => endpoint = Some(s3_endpoint(url)?),
            Some(("region", name)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
                region = Some(name.to_owned());
            }
            _ => return Err(PlaceError::Options),
        }
    }
    Ok((endpoint, region))
}

fn s3_endpoint(url: &str) -> Result<String, PlaceError> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    if host.contains('@') {
        return Err(PlaceError::Credentials("user or password in its endpoint"));
    }
    match host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%') && !host.is_empty() {
        true => Ok(url.trim_end_matches('/').to_owned()),
        false => Err(PlaceError::Path("an endpoint that is no http:// or https://")),
    }
}

/// A slip is tried again at once; what lasts longer is the queue's.
fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(20) }
}

/// What went wrong with all its causes, in a line that steers no terminal.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|it| !it.is_control());
    match line.char_indices().nth(SAID_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn fault(error: &Error) -> ObjectsError {
    let text = said(error);
    match error {
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::NotFound { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. } => ObjectsError::Refused(text),
        _ => ObjectsError::Away(text),
    }
}

/// Objects by the crate `object_store`.
struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// Where they lie in a folder: one that went away would look as if it were empty, and be made anew by the next object.
    folder: Option<PathBuf>,
}

impl Bucket {
    async fn is_there(&self) -> Result<(), ObjectsError> {
        let Some(path) = self.folder.clone() else { return Ok(()) };
        let away = |why: String| ObjectsError::Away(format!("the folder {} is not there: {why}", path.display()));
        let of = path.clone();
        match timeout(CALL, tokio::task::spawn_blocking(move || std::fs::metadata(of))).await {
            Ok(Ok(Ok(about))) if about.is_dir() => Ok(()),
            Ok(Ok(Ok(_))) => Err(away("it is no folder".to_owned())),
            Ok(Ok(Err(error))) => Err(away(error.to_string())),
            Ok(Err(error)) => Err(away(error.to_string())),
            Err(_) => Err(ObjectsError::Away(format!("no answer within {} s", CALL.as_secs()))),
        }
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, ObjectsError> {
    match timeout(CALL, call).await {
        Ok(done) => done.map_err(|error| fault(&error)),
        Err(_) => Err(ObjectsError::Away(format!("no answer within {} s", CALL.as_secs()))),
    }
}

fn path(path: &str) -> Result<Path, ObjectsError> {
    Path::parse(path).map_err(|error| ObjectsError::Refused(said(&error)))
}

impl Objects for Bucket {
    fn put<'a>(&'a self, to: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectsError>> {
        Box::pin(async move {
            self.is_there().await?;
            bounded(self.store.put(&path(to)?, bytes.into())).await.map(drop)
        })
    }

    fn get<'a>(&'a self, from: &'a str, most: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectsError>> {
        Box::pin(async move {
            self.is_there().await?;
            let from = path(from)?;
            let got = bounded(async {
                let object = match self.store.get(&from).await {
                    Err(Error::NotFound { .. }) => return Ok(None),
                    object => object?,
                };
                match object.meta.size {
                    size if size > most => Ok(Some(Err(size))),
                    _ => object.bytes().await.map(|bytes| Some(Ok(bytes.to_vec()))),
                }
            });
            match got.await? {
                None => Ok(None),
                Some(Ok(bytes)) => Ok(Some(bytes)),
                Some(Err(size)) => {
                    Err(ObjectsError::Refused(format!("the object has {size} bytes; {most} is the most")))
                }
            }
        })
    }

    fn list(&self, folder: &str) -> BoxStream<'_, Result<Listed, ObjectsError>> {
        let folder = match path(folder) {
            Ok(folder) => folder,
            Err(error) => return futures_util::stream::iter([Err(error)]).boxed(),
        };
        let listed = self.store.list(Some(&folder)).map(|meta| {
            let meta = meta.map_err(|error| fault(&error))?;
            let made_unix_ms = meta.last_modified.timestamp_millis();
            Ok(Listed { path: meta.location.as_ref().to_owned(), bytes: meta.size, made_unix_ms })
        });
        // Each of them in its time: a long list takes as long as it takes.
        let stream = futures_util::stream::unfold(Some(listed), |listed| async move {
            let mut listed = listed?;
            match timeout(CALL, listed.next()).await {
                Ok(next) => next.map(|next| (next, Some(listed))),
                Err(_) => Some((Err(ObjectsError::Away(format!("no list within {} s", CALL.as_secs()))), None)),
            }
        });
        let away =
            futures_util::stream::once(self.is_there()).filter_map(|there| std::future::ready(there.err().map(Err)));
        away.chain(stream).boxed()
    }

    fn remove<'a>(&'a self, at: &'a str) -> BoxFuture<'a, Result<(), ObjectsError>> {
        Box::pin(async move {
            self.is_there().await?;
            let at = path(at)?;
            bounded(async {
                match self.store.delete(&at).await {
                    Err(Error::NotFound { .. }) => Ok(()),
                    done => done,
                }
            })
            .await
        })
    }
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
