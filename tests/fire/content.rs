//! What a site under fire declares: simulated machines, and a workflow with claims, a set and a barrier.

use super::check::TASKS;
use std::path::Path;

const CONTENT: &str = r#"
apiVersion: formwork.dev/v1alpha1
kind: Enrollment
metadata: {name: simulated}
spec:
  match: {macPrefixes: ["02:46:57"]}
  name: "simulated-{{ mac | replace(':', '') }}"
  profiles: [behaviour, fire]
  workflow: build
  mayWipe: true
---
apiVersion: formwork.dev/v1alpha1
kind: Param
metadata: {name: simulation}
spec: {schema: {type: object}}
---
apiVersion: formwork.dev/v1alpha1
kind: Profile
metadata: {name: behaviour}
spec:
  params:
    simulation:
      look:
        cluster: [{put: "hosts/{machine}", value: up}]
      join:
        cluster:
          - {elect: init, publish: {token: abc}, leadSeconds: 0.5..2.5, ttlSeconds: 3}
          - {join: members}
          - {barrier: ready, count: all}
      check:
        cluster: [{get: token}]
---
apiVersion: formwork.dev/v1alpha1
kind: ClusterProfile
metadata: {name: fire}
spec:
  size: SIZE
  keys: [{name: token, writers: {holderOf: init}, immutable: true}]
---
apiVersion: formwork.dev/v1alpha1
kind: BootEnv
metadata: {name: ram}
spec:
  architectures:
    x86_64: {kernel: {file: ram/vmlinuz}, initrds: [{file: ram/initrd}]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: discover}
spec: {bootEnv: ram, tasks: [look, burn]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: install}
spec: {bootEnv: ram, destructive: true, freshBoot: true, tasks: [install]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: join}
spec: {bootEnv: local, tasks: [join, check]}
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {name: build}
spec: {stages: [discover, install, join]}
"#;

/// Writes the folders `site` and `images` of a site with one cluster of so many machines.
pub fn write(folder: &Path, machines: usize) {
    let at = |path: &str| folder.join(path);
    std::fs::create_dir_all(at("site")).expect("a folder");
    std::fs::create_dir_all(at("images/ram")).expect("a folder");
    let site = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: fire}\nspec: {}\n";
    std::fs::write(at("site/site.yaml"), site).expect("written");
    let tasks: String = TASKS
        .iter()
        .map(|task| {
            format!(
                "---\napiVersion: formwork.dev/v1alpha1\nkind: Task\nmetadata: {{name: {task}}}\nspec:\n  \
                 params: [{{name: simulation}}]\n  retries: {{limit: 20, backoff: 200ms}}\n  timeout: 10m\n  \
                 steps: [{{name: {task}, script: \"echo {task}\"}}]\n"
            )
        })
        .collect();
    let content = CONTENT.replace("SIZE", &machines.to_string());
    std::fs::write(at("site/content.yaml"), format!("{content}{tasks}")).expect("written");
    std::fs::write(at("images/ram/vmlinuz"), vec![1; 60_000]).expect("written");
    std::fs::write(at("images/ram/initrd"), vec![2; 200_000]).expect("written");
}
