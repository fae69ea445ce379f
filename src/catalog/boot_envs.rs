//! Boot environments: files named in a way that firmware can fetch and nobody can bend.

use super::model::BootEnv;
use super::references::References;
use super::{LOCAL, render, tame};
use crate::content::kinds::{BootEnvSpec, EndsBy, FileSource};
use crate::content::{Kind, Object, Report, Step};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The machine's own disk.
pub(super) fn local() -> BootEnv {
    BootEnv {
        name: Arc::from(LOCAL),
        description: "The machine's own disk.".to_owned(),
        ends_by: EndsBy::Nothing,
        architectures: BTreeMap::new(),
        templates: Vec::new(),
        document: None,
    }
}

/// Compiles a boot environment.
pub(super) fn boot_env(
    object: &Object<BootEnvSpec>,
    environment: &minijinja::Environment<'static>,
    references: &References,
    report: &mut Report,
) -> BootEnv {
    let document = &object.document;
    let spec = &object.spec;
    if object.name.rsplit('.').next() == Some(LOCAL) {
        report
            .error(
                "reserved-name",
                document.value(&["metadata".into(), "name".into()]),
                "`local` is the machine's own disk, and always there",
            )
            .hint("give this boot environment another name");
    }
    for (architecture, what) in &spec.architectures {
        let base = vec![Step::Key("spec"), Step::Key("architectures"), Step::Key(architecture.as_str())];
        let with = |more: &[Step<'static>]| {
            let mut path = base.clone();
            path.extend_from_slice(more);
            path
        };
        check_source(&what.kernel, &with(&[Step::Key("kernel")]), object, report);
        for (index, initrd) in what.initrds.iter().enumerate() {
            check_source(initrd, &with(&[Step::Key("initrds"), Step::Item(index)]), object, report);
        }
        let tamed = tame::template(&what.arguments, &render::syntax()).map_err(|untamed| untamed.of(String::new()));
        let read = tamed.and_then(|()| {
            let read = environment.template_from_str(&what.arguments).map(|_| ());
            read.map_err(|error| render::failed(String::new(), &error))
        });
        if let Err(render::RenderError::Failed { message, .. }) = read {
            report.error(
                "template",
                document.value(&with(&[Step::Key("arguments")])),
                format!("the kernel's command line: {message}"),
            );
        }
    }
    let mut templates = Vec::new();
    for (index, written) in spec.templates.iter().enumerate() {
        let path = [Step::Key("spec"), Step::Key("templates"), Step::Item(index)];
        let found = references.resolve(Kind::Template, object.pack.as_ref(), written, document.value(&path), report);
        if let Some(name) = found.sound() {
            templates.push((written.clone(), name));
        }
    }
    BootEnv {
        name: Arc::clone(&object.name),
        description: spec.description.clone(),
        ends_by: spec.ends_by,
        architectures: spec.architectures.clone(),
        templates,
        document: Some(document.clone()),
    }
}

fn check_source(source: &FileSource, path: &[Step<'_>], object: &Object<BootEnvSpec>, report: &mut Report) {
    let document = &object.document;
    let field = |name: &'static str| {
        let mut path = path.to_vec();
        path.push(Step::Key(name));
        path
    };
    if let Some(sum) = &source.sha256
        && (sum.len() != 64 || !sum.bytes().all(|digit| digit.is_ascii_hexdigit()))
    {
        report.error("sha256", document.value(&field("sha256")), "not a SHA-256: 64 hexadecimal digits");
    }
    match (&source.file, &source.url) {
        (Some(file), None) => {
            let plain = !file.is_empty()
                && !file.split('/').any(|part| matches!(part, "" | "." | ".."))
                && file.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '\\' | '%' | '?' | '#'));
            if !plain {
                report
                    .error(
                        "image-path",
                        document.value(&field("file")),
                        format!("`{file}` is not a path in the server's image folder"),
                    )
                    .hint("write it from that folder, such as `discovery/vmlinuz`");
            }
        }
        (None, Some(url)) => {
            if !(url.starts_with("http://") || url.starts_with("https://"))
                || url.chars().any(|c| c.is_whitespace() || c.is_control())
            {
                report.error("image-url", document.value(&field("url")), "not an http:// or https:// address");
            }
            if source.sha256.is_none() {
                report
                    .error("image-url", document.value(&field("url")), "a file from elsewhere needs its sha256")
                    .hint("write `sha256:` beside it (`sha256sum FILE`)");
            }
        }
        _ => {} // told where it was read
    }
}
