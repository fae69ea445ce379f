//! URLs by tables, and a folder as an object store. A real S3 is in `tests/object_store`.

use super::*;
use futures_util::TryStreamExt as _;

fn s3(prefix: &str, endpoint: Option<&str>, region: Option<&str>) -> Place {
    Place::S3 {
        bucket: "logs".into(),
        prefix: prefix.into(),
        endpoint: endpoint.map(str::to_owned),
        region: region.map(str::to_owned),
    }
}

#[test]
fn a_url_says_where_and_how_it_is_shown() {
    let (bucket, prefix) = ("logs".to_owned(), "lab/a".to_owned());
    for (url, place, shown) in [
        ("s3://logs", s3("", None, None), "s3://logs"),
        ("s3://logs/lab/a/", s3("lab/a", None, None), "s3://logs/lab/a"),
        ("s3://logs?region=eu-west-1", s3("", None, Some("eu-west-1")), "s3://logs"),
        (
            "s3://logs/lab?endpoint=http://10.0.0.5:9000/&region=lab",
            s3("lab", Some("http://10.0.0.5:9000"), Some("lab")),
            "s3://logs/lab at http://10.0.0.5:9000",
        ),
        ("gs://logs/lab/a", Place::Google { bucket, prefix: prefix.clone() }, "gs://logs/lab/a"),
        ("az://logs/lab/a", Place::Azure { container: "logs".to_owned(), prefix }, "az://logs/lab/a"),
        ("file:///srv/logs", Place::Folder("/srv/logs".into()), "file:///srv/logs"),
    ] {
        assert_eq!(Place::parse(url), Ok(place.clone()), "{url}");
        assert_eq!(place.to_string(), shown);
    }
}

#[test]
fn what_is_no_url_or_holds_a_secret_is_refused_and_not_shown() {
    for (url, words) in [
        ("", "an object store is s3://"),
        ("/srv/logs", "an object store is s3://"),
        ("ftp://logs/x", "an object store is s3://"),
        ("https://logs.example.org/x", "an object store is s3://"),
        ("s3://", "no bucket"),
        ("s3:///x", "no bucket"),
        ("s3://lo gs", "no bucket"),
        ("s3://logs/a//b", "a folder with empty parts"),
        ("s3://logs/../b", "a folder with empty parts"),
        ("file://srv/logs", "three slashes"),
        ("file:///srv/logs?region=x", "the options are"),
        ("gs://logs?endpoint=http://x", "the options are"),
        ("s3://key:hunter2@logs/x", "has no user, password or port"),
        ("s3://logs/x?secret_access_key=hunter2", "the options are"),
        ("s3://logs/x?endpoint=http://key:hunter2@host", "has no user or password in its endpoint"),
        ("s3://logs/x?endpoint=host:9000", "an endpoint that is no"),
        ("s3://logs/x#hunter2", "has no fragment"),
    ] {
        let error = Place::parse(url).unwrap_err().to_string();
        assert!(error.contains(words), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [dir.path().join("not-mounted"), file] {
        let error = Place::Folder(path.clone()).open().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    assert!(!dir.path().join("not-mounted").exists());
}

#[tokio::test]
async fn a_folder_is_an_object_store() {
    let dir = tempfile::tempdir().unwrap();
    let objects = Place::Folder(dir.path().to_owned()).open().unwrap();
    let (one, other) = ("lab-1/logs/job-1/x.log.zst", "lab-1/logs/job-2/y.log.zst");
    let list = async |folder: &str| {
        let mut all: Vec<Listed> = objects.list(folder).try_collect().await.unwrap();
        all.sort_by(|one, other| one.path.cmp(&other.path));
        all.into_iter().map(|it| (it.path, it.bytes, it.made_unix_ms > 0)).collect::<Vec<_>>()
    };
    assert!(list("lab-1/logs").await.is_empty());
    assert_eq!(objects.get(one, 100).await, Ok(None));
    for _ in 0..2 {
        objects.put(one, b"hello".to_vec()).await.unwrap();
    }
    objects.put(other, b"there".to_vec()).await.unwrap();
    assert_eq!(objects.get(one, 100).await, Ok(Some(b"hello".to_vec())));
    assert!(matches!(objects.get(one, 4).await, Err(ObjectsError::Refused(_))));
    assert_eq!(list("lab-1/logs/job-1").await, [(one.to_owned(), 5, true)]);
    assert_eq!(list("lab-1").await.len(), 2);
    assert!(list("lab").await.is_empty(), "another site's folder that begins alike");
    for _ in 0..2 {
        objects.remove(one).await.unwrap();
    }
    assert_eq!(list("lab-1").await, [(other.to_owned(), 5, true)]);
    assert!(!dir.path().join("lab-1/logs/job-1").exists(), "no empty folders are left");
}

#[tokio::test]
async fn a_folder_that_went_away_is_not_empty_and_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("objects");
    std::fs::create_dir(&place).unwrap();
    let objects = Place::Folder(place.clone()).open().unwrap();
    objects.put("lab-1/logs/job-1/x", b"hello".to_vec()).await.unwrap();
    std::fs::rename(&place, dir.path().join("moved")).unwrap();
    let away = |error: ObjectsError| matches!(&error, ObjectsError::Away(why) if why.contains("objects is not there"));
    assert!(objects.get("lab-1/logs/job-1/x", 100).await.is_err_and(away));
    assert!(objects.list("lab-1").try_collect::<Vec<Listed>>().await.is_err_and(away));
    assert!(objects.put("lab-1/logs/job-2/y", b"there".to_vec()).await.is_err_and(away));
    assert!(objects.remove("lab-1/logs/job-1/x").await.is_err_and(away));
    assert!(!place.exists());
    std::fs::rename(dir.path().join("moved"), &place).unwrap();
    assert_eq!(objects.get("lab-1/logs/job-1/x", 100).await, Ok(Some(b"hello".to_vec())));
}

#[test]
fn what_an_object_store_says_is_one_line_and_bounded() {
    let error = Error::Generic { store: "S3", source: format!("a\x1b[2J\n{}", "ö".repeat(1000)).into() };
    let line = said(&error);
    assert!(line.chars().count() <= SAID_MAX + 1 && !line.contains(['\n', '\x1b']), "{line}");
    assert!(line.starts_with("Generic S3 error: a[2J ö"), "{line}");
}
