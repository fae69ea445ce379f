//! What a script finds: its environment and its file of params.

use crate::wire::{JobGrant, param_variables};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Where programs are, for an environment that says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is around a job on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Folder with `formwork`.
    pub bin_dir: &'a Path,
    /// The JSON file of params, facts and machine.
    pub params_file: &'a Path,
    /// The agent's socket.
    pub socket: &'a Path,
    /// The job's capability. Secret.
    pub capability: &'a str,
    /// The boot environment that runs.
    pub boot_environment: &'a str,
    /// `PATH` of the agent itself.
    pub path: Option<&'a str>,
}

/// The whole environment of a script: nothing is inherited.
pub fn variables(grant: &JobGrant, around: Around<'_>) -> BTreeMap<String, String> {
    let mut all = param_variables(&grant.params);
    let path = around.path.filter(|path| !path.is_empty()).unwrap_or(PATH);
    let own = [
        ("PATH", format!("{}:{path}", around.bin_dir.display())),
        ("HOME", "/root".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("FORMWORK_PARAMS", around.params_file.display().to_string()),
        ("FORMWORK_SOCKET", around.socket.display().to_string()),
        ("FORMWORK_CAPABILITY", around.capability.to_owned()),
        ("FORMWORK_BOOT_ENVIRONMENT", around.boot_environment.to_owned()),
        ("FORMWORK_JOB", grant.job.clone()),
        ("FORMWORK_RUN", grant.run.to_string()),
        ("FORMWORK_STAGE", grant.stage.clone()),
        ("FORMWORK_TASK", grant.task.clone()),
        ("FORMWORK_ATTEMPT", grant.attempt.to_string()),
        ("FORMWORK_MACHINE", grant.machine.name.clone()),
        ("FORMWORK_FILES", grant.machine.files.clone()),
    ];
    all.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value.replace('\0', ""))));
    all
}

/// The content of `FORMWORK_PARAMS`.
pub fn params_document(grant: &JobGrant) -> Value {
    json!({ "params": grant.params, "facts": grant.facts, "machine": grant.machine })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ExitCodes, LONGEST_VARIABLE_BYTES, MachineInfo};

    fn grant(params: Value) -> JobGrant {
        JobGrant {
            job: "j1".into(),
            run: 3,
            stage: "install".into(),
            task: "image.write".into(),
            attempt: 2,
            timeout_seconds: 60,
            exit_codes: ExitCodes::Formwork,
            machine: MachineInfo { name: "node-1".into(), ..MachineInfo::default() },
            params: params.as_object().cloned().unwrap(),
            facts: serde_json::Map::new(),
            steps: vec![],
            clusters: vec![],
            destructive: None,
        }
    }

    fn around<'a>() -> Around<'a> {
        Around {
            bin_dir: Path::new("/run/formwork/bin"),
            params_file: Path::new("/run/formwork/jobs/j1/params.json"),
            socket: Path::new("/run/formwork/agent.sock"),
            capability: "secret",
            boot_environment: "discovery",
            path: None,
        }
    }

    #[test]
    fn params_are_variables_scalars_as_they_are_and_the_rest_as_json() {
        let all = variables(
            &grant(json!({"install-disk": "/dev/vda", "a.b": 3, "flag": true, "list": [1, "x"], "none": null})),
            around(),
        );
        let table = [
            ("FORMWORK_PARAM_INSTALL_DISK", "/dev/vda"),
            ("FORMWORK_PARAM_A_B", "3"),
            ("FORMWORK_PARAM_FLAG", "true"),
            ("FORMWORK_PARAM_LIST", r#"[1,"x"]"#),
            ("FORMWORK_PARAM_NONE", ""),
            ("FORMWORK_RUN", "3"),
            ("FORMWORK_TASK", "image.write"),
            ("FORMWORK_CAPABILITY", "secret"),
        ];
        for (name, wanted) in table {
            assert_eq!(all.get(name).map(String::as_str), Some(wanted), "{name}");
        }
        assert!(all["PATH"].starts_with("/run/formwork/bin:/usr"));
    }

    #[test]
    fn what_no_variable_can_hold_is_only_in_the_file() {
        let grant = grant(json!({"nul": "a\u{0}b", "long": "x".repeat(LONGEST_VARIABLE_BYTES + 1)}));
        let all = variables(&grant, around());
        assert!(!all.contains_key("FORMWORK_PARAM_NUL"));
        assert!(!all.contains_key("FORMWORK_PARAM_LONG"));
        assert_eq!(params_document(&grant)["params"]["nul"], json!("a\u{0}b"));
    }
}
