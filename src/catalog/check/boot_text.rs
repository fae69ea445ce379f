//! Texts that are rendered for each boot: the kernel's command line, files served to it.

use super::{Catalog, Uses};
use crate::catalog::model::{BootEnv, Template};
use crate::content::kinds::Architecture;
use crate::content::{Place, Step, place_of};

/// One text that a boot environment renders for each boot.
pub(super) struct BootText<'a> {
    pub(super) boot_env: &'a BootEnv,
    pub(super) source: BootSource<'a>,
    pub(super) uses: Uses,
}

impl BootText<'_> {
    /// Where it stands, or begins.
    pub(super) fn place(&self) -> Option<Place> {
        match &self.source {
            BootSource::Arguments(architecture, _) => {
                let path = ["spec", "architectures", architecture.as_str(), "arguments"].map(Step::Key);
                Some(place_of(self.boot_env.document.as_ref()?.value(&path)))
            }
            BootSource::Template(template) => Some(template.document.place()),
        }
    }
}

pub(super) enum BootSource<'a> {
    /// The kernel's command line of an architecture.
    Arguments(Architecture, &'a str),
    /// A file served to the boot.
    Template(&'a Template),
}

/// All such texts of an environment.
pub(super) fn boot_texts<'a>(catalog: &'a Catalog, boot_env: &'a BootEnv) -> Vec<BootText<'a>> {
    let environment = &catalog.environment;
    let arguments = boot_env.architectures.iter().filter_map(|(architecture, spec)| {
        let text = spec.arguments.as_str();
        let uses = Uses::of(environment.template_from_str(text).ok()?.undeclared_variables(true), text);
        Some(BootText { boot_env, source: BootSource::Arguments(*architecture, text), uses })
    });
    let templates = boot_env.templates.iter().filter_map(|(_, name)| {
        let template = catalog.template(name)?;
        let uses = Uses::of(environment.get_template(name).ok()?.undeclared_variables(true), &template.text);
        Some(BootText { boot_env, source: BootSource::Template(template), uses })
    });
    arguments.chain(templates).collect()
}
