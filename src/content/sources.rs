//! What the followers of repositories read of content: `sources.yaml`, in the same envelope and as strictly; and the heads of a
//! tree's documents, to see what a source declares before anything of it is used.

use super::finding::{Place, Report, Severity};
use super::kinds::{LeaveGuard, SiteSpec};
use super::names::did_you_mean;
use super::{Document, File, FileKind, Kind, Tree, decode, document, load};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// Reads a file of one document of kind `Sources`. `None`: it could not be read, and the report says why.
pub(crate) fn sources_document<T: DeserializeOwned>(
    path: &str,
    file: &File,
    api_version: &str,
    report: &mut Report,
) -> Option<(Document, T)> {
    let mut documents = document::read(path, file, report).into_iter();
    let (Some((document, mut value)), None) = (documents.next(), documents.next()) else {
        if !report.refuses() {
            let place = Place { file: Arc::from(path), line: 1, column: 1 };
            report.at(Severity::Error, "not-a-document", place, "one document of kind Sources was expected").hint(
                format!(
                    "begin it with `apiVersion: {api_version}` and `kind: Sources`; the sources are in `spec.sources`"
                ),
            );
        }
        return None;
    };
    let word = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    if word(&value, "apiVersion").as_deref() != Some(api_version) || word(&value, "kind").as_deref() != Some("Sources")
    {
        report
            .error("not-a-document", document.value(&[]), "this is not a document of kind Sources")
            .hint(format!("begin it with `apiVersion: {api_version}` and `kind: Sources`"));
        return None;
    }
    let fields = ["apiVersion", "kind", "spec"];
    for key in value.as_object().into_iter().flat_map(|map| map.keys()) {
        if !fields.contains(&key.as_str()) {
            report
                .error("unknown-field", document.key(&[key.into()]), format!("unknown field `{key}`"))
                .hint_if(did_you_mean(key, fields));
        }
    }
    let spec = decode::spec(&document, &mut value, report)?;
    Some((document, spec))
}

/// The head of one document.
#[derive(Debug)]
pub(crate) struct Head {
    pub kind: Kind,
    pub name: String,
    /// Where its kind stands.
    pub kind_place: Place,
    /// Where its name stands.
    pub name_place: Place,
}

/// The heads of all documents of a tree, at these paths under `prefix`. What cannot be read is left to [`load`], which says why.
pub(crate) fn heads(tree: &Tree, prefix: &str) -> Vec<Head> {
    let (mut heads, mut report) = (Vec::new(), Report::default());
    for (path, file) in &tree.files {
        let shown = format!("{prefix}{path}");
        let regular = matches!(file.kind, FileKind::Regular | FileKind::Executable);
        if !regular || !load::is_yaml(path) || load::path_is_data(&shown) {
            continue;
        }
        for (document, mut value) in document::read(&shown, file, &mut report) {
            let envelope = decode::envelope(&document, &mut value, &mut report);
            let Some(envelope) = envelope.filter(|envelope| !envelope.name.is_empty()) else { continue };
            heads.push(Head {
                kind: envelope.kind,
                name: envelope.name,
                kind_place: report.place(document.value(&["kind".into()])),
                name_place: report.place(document.value(&["metadata".into(), "name".into()])),
            });
        }
    }
    heads
}

/// What a site says of machines that leave at once; where it cannot be read, what holds where nothing is said.
pub(crate) fn leave_guard(tree: &Tree) -> LeaveGuard {
    let mut report = Report::default();
    let Some(file) = tree.files.get("site.yaml") else { return LeaveGuard::default() };
    let sites = document::read("site.yaml", file, &mut report).into_iter().filter_map(|(document, mut value)| {
        let envelope = decode::envelope(&document, &mut value, &mut report)?;
        let is_site = envelope.kind == Kind::Site;
        is_site.then(|| decode::spec::<SiteSpec>(&document, &mut value, &mut report)).flatten()
    });
    sites.map(|spec| spec.leave_guard).next().unwrap_or_default()
}
