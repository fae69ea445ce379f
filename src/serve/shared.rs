//! The keys of a site that several servers serve: in a Secret beside the store, made once, and in the state directory of each.

use super::keeping::Keeping;
use super::site::{ADMINISTRATOR, ADMINISTRATORS, SiteError, StateDirectory, make_folder, named, read, write_secret};
use crate::api::views::Context;
use crate::identity::{AdministratorToken, SiteKeys, ca_fingerprint};
use crate::store::StoreError;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The first administrator's context is only there until somebody takes it away.
const FILES: [&str; 5] = [ADMINISTRATORS, "signing.key", "ticket.key", "authority.key", "authority.pem"];

/// What is there when a site is to be made whose servers share keys.
#[derive(Debug, Clone, Copy, Default)]
struct There<'a> {
    /// The site and, where it says it, the authority of the store that is there.
    store: Option<(&'a str, Option<&'a str>)>,
    /// The authority of the keys beside it.
    shared: Option<&'a str>,
    /// And of those in the state directory.
    own: Option<&'a str>,
}

/// Whose keys the site has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// New ones.
    Made,
    /// Those that lie beside the store.
    Taken,
    /// Those of the state directory, which the store is of: others take them from now on.
    Given,
}

/// Whose keys a site of that name has.
///
/// # Errors
/// Why it cannot be made so, and what to do.
fn whose(site: &str, there: There<'_>, here: &str, place: &str) -> Result<Keys, String> {
    if let Some((other, _)) = there.store.filter(|(other, _)| *other != site) {
        return Err(format!(
            "{place} holds the store of site {other}, and a store is one site's: say {other} in place of {site} to add a server to it, \
             or name another namespace for {site}"
        ));
    }
    let authority = there.store.and_then(|(_, authority)| authority);
    let of_another = |keys: &str| authority.is_some_and(|authority| authority != keys);
    match (there.shared, there.own) {
        (Some(shared), _) if of_another(shared) => Err(format!(
            "the keys in the Secret formwork-site of {place} are of another authority than the store there: it was made or moved in \
             with other keys. Delete that Secret where no server uses it, and start the server whose state directory has the store's keys"
        )),
        (Some(shared), Some(own)) if shared != own => {
            Err(format!("{here} has the keys of another site than the one whose store this is"))
        }
        (Some(_), _) => Ok(Keys::Taken),
        (None, Some(own)) if authority == Some(own) => Ok(Keys::Given),
        (None, Some(_)) => {
            Err(format!("{here} has the keys of a site that does not share them; give another --state-dir"))
        }
        (None, None) if there.store.is_some() => Err(format!(
            "{place} holds the store of site {site} already, and the keys that it was made or moved in with are not beside it: new ones \
             would be refused by it. Start a server with --replica whose state directory has them (it puts them there for the others), or \
             say this with that --state-dir"
        )),
        (None, None) => Ok(Keys::Made),
    }
}

impl StateDirectory {
    /// Makes a site that several servers serve: keys and the first administrator lie in a Secret beside the store, made once, and
    /// each server takes them from there. May be said by each of them, at the same time and again: there is one site then.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn create_shared(
        &self,
        keeping: &Keeping,
        site: &str,
        fresh: bool,
        server: &str,
    ) -> Result<SiteKeys, SiteError> {
        named(site)?;
        let here = self.0.display().to_string();
        if crate::store::embedded::find(&self.0)? {
            let message = format!(
                "{here} holds a store already; a site is made once: `formwork serve` serves it, and another one needs another --state-dir"
            );
            return Err(StoreError::Exists(message).into());
        }
        // Before the keys beside it are looked at: where it is made, they are made first.
        #[cfg(feature = "kubernetes")]
        let store = keeping.whose()?.map(|store| (store.site, store.authority));
        #[cfg(not(feature = "kubernetes"))]
        let store: Option<(String, Option<String>)> = None;
        let shared = keeping.find_keys()?;
        // Keys that are here are never written over: what they signed would be worth nothing.
        let own = self.key("authority.pem").exists().then(|| read(&self.key("authority.pem"))).transpose()?;
        let of_files = |files: &BTreeMap<String, Vec<u8>>| fingerprint(files.get("authority.pem").map(Vec::as_slice));
        let (of_shared, of_own) =
            (shared.as_ref().map(of_files).transpose()?, own.as_deref().map(|own| fingerprint(Some(own))).transpose()?);
        let there = There {
            store: store.as_ref().map(|(site, authority)| (site.as_str(), authority.as_deref())),
            shared: of_shared.as_deref(),
            own: of_own.as_deref(),
        };
        let place = keeping.elsewhere().unwrap_or_default();
        let keys = whose(site, there, &here, &place).map_err(StoreError::Exists)?;
        let files = match (keys, shared) {
            (Keys::Given, _) => keeping.make_keys_once(&self.files()?)?,
            (_, Some(files)) => files,
            (_, None) => keeping.make_keys_once(&shared_files(site, server)?)?,
        };
        if own.is_some_and(|own| files.get("authority.pem") != Some(&own)) {
            let message = format!("{here} has the keys of another site than the one whose store this is");
            return Err(StoreError::Exists(message).into());
        }
        let _alone = self.alone()?;
        self.write_shared(&files)?;
        let keys = self.keys()?;
        let authority = ca_fingerprint(keys.authority_certificate())?;
        match keeping.create(&self.0, site, fresh, &authority) {
            // Whose it is, a server is told when it opens it.
            Ok(()) | Err(StoreError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.remember_store(keeping)?;
        Ok(keys)
    }

    /// Takes the keys that the site's servers share, where this directory has none of its own.
    ///
    /// # Errors
    /// [`SiteError`]; [`SiteError::Missing`] where nobody made a site.
    pub fn take_shared(&self, keeping: &Keeping) -> Result<(), SiteError> {
        if self.key("authority.pem").exists() {
            return Ok(());
        }
        let missing = || SiteError::Missing {
            path: self.0.clone(),
            nor: keeping.elsewhere().map(|place| format!(", and {place} has no keys of one")).unwrap_or_default(),
            options: format!(" --shared{}", keeping.options()),
        };
        let files = keeping.find_keys()?.ok_or_else(missing)?;
        make_folder(&self.0)?;
        self.write_shared(&files)
    }

    /// Puts the keys of this directory, which the store is of, beside it where none are: so those who come later have them, also
    /// after a move.
    ///
    /// # Errors
    /// [`SiteError`]; those of another authority are there.
    pub(super) fn share_keys(&self, keeping: &Keeping) -> Result<(), SiteError> {
        let own = self.files()?;
        let there = match keeping.find_keys()? {
            Some(there) => there,
            None => {
                tracing::info!("the site's keys are put beside the store, for its other servers");
                keeping.make_keys_once(&own)?
            }
        };
        if there.get("authority.pem") == own.get("authority.pem") {
            return Ok(());
        }
        let place = keeping.elsewhere().unwrap_or_default();
        Err(StoreError::Open(format!(
            "the Secret formwork-site of {place} holds keys of another authority than that of the store and of {}: another server \
             would start with them and be refused. Delete that Secret and start this server again, which puts the right ones there",
            self.0.display()
        ))
        .into())
    }

    /// The keys of this directory, and its first administrator where that is still here.
    fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, SiteError> {
        let first = self.shared_path(ADMINISTRATOR).exists().then_some(ADMINISTRATOR);
        let names = FILES.into_iter().chain(first);
        names.map(|name| Ok((name.to_owned(), read(&self.shared_path(name))?))).collect()
    }

    fn shared_path(&self, name: &str) -> PathBuf {
        match name {
            ADMINISTRATOR | ADMINISTRATORS => self.0.join(name),
            key => self.key(key),
        }
    }

    fn write_shared(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<(), SiteError> {
        make_folder(&self.0.join("keys"))?;
        make_folder(&self.0.join("secrets"))?;
        if let Some(bytes) = files.get(ADMINISTRATOR) {
            write_secret(&self.shared_path(ADMINISTRATOR), bytes)?;
        }
        // The authority's certificate last: where it is, all are.
        for name in FILES {
            let path = self.shared_path(name);
            let lacking = || SiteError::Content { path: path.clone(), message: "the shared keys lack it".to_owned() };
            write_secret(&path, files.get(name).ok_or_else(lacking)?)?;
        }
        Ok(())
    }
}

/// The SHA-256 of a certificate.
fn fingerprint(pem: Option<&[u8]>) -> Result<String, SiteError> {
    Ok(ca_fingerprint(&String::from_utf8_lossy(pem.unwrap_or_default()))?)
}

/// New keys and a first administrator, as the files that a state directory has of them.
fn shared_files(site: &str, server: &str) -> Result<BTreeMap<String, Vec<u8>>, SiteError> {
    let keys = SiteKeys::generate(site)?;
    let files = keys.to_files();
    let (token, recognised) = AdministratorToken::generate("administrator")?;
    let context = Context { server: server.to_owned(), ca_certificate: keys.authority_certificate().to_owned(), token };
    let json = |name: &str, bytes: Result<Vec<u8>, serde_json::Error>| {
        let wrong = |error: serde_json::Error| SiteError::Content { path: name.into(), message: error.to_string() };
        Ok::<_, SiteError>((name.to_owned(), bytes.map_err(wrong)?))
    };
    Ok(BTreeMap::from([
        json(ADMINISTRATOR, serde_json::to_vec_pretty(&context))?,
        json(ADMINISTRATORS, serde_json::to_vec_pretty(&recognised))?,
        ("signing.key".to_owned(), files.signing),
        ("ticket.key".to_owned(), files.ticket),
        ("authority.key".to_owned(), files.authority_key),
        ("authority.pem".to_owned(), files.authority_certificate),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_site_is_made_joined_or_taken_in_and_never_mixed_with_another() {
        let store = |site, authority| Some((site, authority));
        for (there, expected) in [
            (There::default(), Ok(Keys::Made)),
            (There { shared: Some("a"), ..There::default() }, Ok(Keys::Taken)),
            (There { store: store("lab", Some("a")), shared: Some("a"), own: None }, Ok(Keys::Taken)),
            (There { store: store("lab", Some("a")), shared: Some("a"), own: Some("a") }, Ok(Keys::Taken)),
            (There { store: store("lab", None), shared: Some("a"), own: None }, Ok(Keys::Taken)),
            // It moved in, and its keys came along.
            (There { store: store("lab", Some("a")), shared: None, own: Some("a") }, Ok(Keys::Given)),
            (There { store: store("lab", Some("a")), shared: None, own: None }, Err("are not beside it")),
            (There { store: store("lab", Some("a")), shared: Some("b"), own: None }, Err("Secret formwork-site")),
            (There { store: store("lab", Some("a")), shared: None, own: Some("b") }, Err("does not share them")),
            (There { store: None, shared: None, own: Some("b") }, Err("does not share them")),
            (There { store: None, shared: Some("a"), own: Some("b") }, Err("keys of another site")),
            (There { store: store("other", Some("a")), shared: Some("a"), own: None }, Err("store of site other")),
        ] {
            let got = whose("lab", there, "/state", "namespace lab of Kubernetes");
            match (&got, expected) {
                (Ok(keys), Ok(wanted)) => assert_eq!(*keys, wanted, "{there:?}"),
                (Err(text), Err(words)) => assert!(text.contains(words), "{there:?}: {text}"),
                _ => panic!("{there:?}: {got:?}"),
            }
        }
    }
}
