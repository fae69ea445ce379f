//! A YAML file of the server's own, that is no content: read as strictly as content is, with the same findings.

use super::finding::{Findings, Place, Report, Severity};
use super::{Document, File, FileKind, Step, decode, document};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// One file on its way from bytes to what it says.
#[derive(Debug)]
pub(crate) struct StrictFile {
    file: Arc<str>,
    document: Option<Document>,
    report: Report,
}

impl StrictFile {
    /// A file that findings call by this name.
    pub(crate) fn new(file: &str) -> Self {
        Self { file: Arc::from(file), document: None, report: Report::default() }
    }

    /// Reads its one document; what is wrong is reported, and the answer then the default.
    pub(crate) fn read<T: DeserializeOwned + Default>(&mut self, bytes: &[u8]) -> T {
        let file = File { bytes: Arc::from(bytes), kind: FileKind::Regular, blob: None };
        let mut documents = document::read(&self.file, &file, &mut self.report).into_iter();
        let Some((document, mut value)) = documents.next() else { return T::default() };
        if let Some((second, _)) = documents.next() {
            self.report.error("second-document", second.value(&[]), "a second document; this file has one");
        }
        let read = decode::part(&document, "", &mut value, &mut self.report);
        self.document = Some(document);
        read.unwrap_or_default()
    }

    /// Something is wrong at a value of it.
    pub(crate) fn error(&mut self, code: &'static str, path: &[Step<'_>], message: String) {
        self.error_with(code, path, message, None);
    }

    /// The same, with what to do.
    pub(crate) fn error_with(&mut self, code: &'static str, path: &[Step<'_>], message: String, hint: Option<String>) {
        match &self.document {
            Some(document) => self.report.error(code, document.value(path), message).hint_if(hint),
            None => {
                let place = Place { file: Arc::clone(&self.file), line: 1, column: 1 };
                self.report.at(Severity::Error, code, place, message).hint_if(hint);
            }
        }
    }

    /// Something is wrong on lines of another file that it names.
    pub(crate) fn elsewhere(&mut self, code: &'static str, file: &str, errors: Vec<(usize, String)>) {
        for (line, message) in errors {
            let place = Place { file: Arc::from(file), line, column: 1 };
            self.report.at(Severity::Error, code, place, message);
        }
    }

    /// Whether something was wrong so far.
    pub(crate) fn refuses(&self) -> bool {
        self.report.refuses()
    }

    /// What it says, or all that is wrong with it.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Findings> {
        if self.report.refuses() { Err(self.report.into_findings()) } else { Ok(value) }
    }
}
