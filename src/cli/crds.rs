//! `formwork crds`: the definitions of custom resources, for a Kubernetes cluster.

use super::error::CliError;
use super::output::Output;
use crate::controller::definitions;
use clap::Args;

/// Prints the definitions of Formwork's custom resources, made from the types that read content.
///
/// They are what the chart formwork-crds installs. A cluster has them once, whatever runs in its namespaces.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork crds | kubectl apply -f -
  kubectl explain machine.spec")]
pub struct Arguments {}

/// Does it.
pub fn run(_: &Arguments) -> Result<(), CliError> {
    let text =
        text().map_err(|error| CliError::NotSo(format!("the definitions cannot be written as YAML: {error}")))?;
    Output::of_process(None).bytes(text.as_bytes())
}

/// All of them, one document each.
fn text() -> Result<String, serde_yaml::Error> {
    let mut text = String::new();
    for definition in definitions() {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(&definition.document)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    /// `FORMWORK_BLESS=1 cargo test --lib crds` writes it anew.
    #[test]
    fn the_chart_of_definitions_holds_what_the_program_prints() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/formwork-crds/templates/crds.yaml");
        let printed = super::text().unwrap();
        if std::env::var_os("FORMWORK_BLESS").is_some() {
            std::fs::write(&path, &printed).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(kept == printed, "{} is not what `formwork crds` prints; FORMWORK_BLESS=1 writes it", path.display());
        // Helm reads templates: nothing in them may look like one.
        assert!(!printed.contains("{{"));
    }
}
