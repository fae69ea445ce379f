//! A small good site that tests break in one place each.

use super::{Catalog, from_tree};
use crate::content::{Findings, Tree};
use std::collections::BTreeMap;

const HEAD: &str = "apiVersion: formwork.dev/v1alpha1\n";

/// Files of the good site; `%%` stands for the line with apiVersion.
const SITE: &[(&str, &str)] = &[
    (
        "site.yaml",
        "%%kind: Site
metadata: {name: lab}
spec:
  packs:
    - builtin: hardware
    - path: packs/etcd
  global: [lab-defaults]
---
%%kind: Subnet
metadata: {name: rack-1}
spec:
  cidr: 10.77.0.0/24
  gateway: 10.77.0.1
  pools: [{first: 10.77.0.100, last: 10.77.0.199}]
",
    ),
    (
        "machines/node-1.yaml",
        "%%kind: Machine
metadata: {name: node-1, labels: {rack: \"1\"}}
spec:
  match:
    macs: [\"52:54:00:00:00:01\"]
  address: 10.77.0.11
  profiles: [lab-defaults, etcd-lab]
  params:
    install-disk: /dev/vda
  workflow: node
",
    ),
    (
        "machines/rule.yaml",
        "%%kind: Enrollment
metadata: {name: new}
spec:
  match: {subnet: rack-1, macPrefixes: [\"52:54:00\"]}
  name: \"node-{{ mac | replace(':', '') }}\"
  profiles: [etcd-lab]
  workflow: node
  mayWipe: true
",
    ),
    ("profiles/lab.yaml", "%%kind: Profile\nmetadata: {name: lab-defaults}\nspec:\n  params: {timezone: UTC}\n"),
    (
        "clusters/etcd.yaml",
        "%%kind: ClusterProfile
metadata: {name: etcd-lab}
spec:
  size: 3
  keys:
    - {name: initial-cluster, schema: {type: string}, writers: {holderOf: bootstrap}, param: true}
",
    ),
    (
        "workflows/node.yaml",
        "%%kind: Workflow
metadata: {name: node}
spec:
  stages: [discover, install, etcd.join]
---
%%kind: Stage
metadata: {name: install}
spec:
  bootEnv: discovery
  tasks: [inventory]
  destructive: true
  onFailure: {goTo: etcd.join}
",
    ),
    ("packs/etcd/pack.yaml", "%%kind: Pack\nmetadata: {name: etcd}\nspec:\n  params: {etcd-data-dir: /var/lib/etcd}\n"),
    (
        "packs/etcd/tasks/join.yaml",
        "%%kind: Task
metadata: {name: join}
spec:
  params:
    - {name: etcd-data-dir, required: true}
    - {name: initial-cluster, required: true}
    - {name: timezone}
  timeout: 20m
  steps:
    - name: configuration
      template: defaults
      to: /etc/default/etcd
    - name: join
      if: params.timezone == 'UTC'
      scriptFile: ../scripts/join.sh
",
    ),
    ("packs/etcd/scripts/join.sh", "#!/bin/sh\ntrue\n"),
    (
        "packs/etcd/stages/join.yaml",
        "%%kind: Stage\nmetadata: {name: join}\nspec:\n  bootEnv: local\n  tasks: [join]\n",
    ),
    ("packs/etcd/templates/all.yaml", "%%kind: Template\nmetadata: {name: defaults}\nspec: {file: defaults.j2}\n"),
    ("packs/etcd/templates/defaults.j2", "# {{ machine.name }}\nETCD_DATA_DIR={{ params.etcd_data_dir }}\n"),
];

/// A pack that comes with the program, in tests.
const HARDWARE: &[(&str, &str)] = &[
    ("pack.yaml", "%%kind: Pack\nmetadata: {name: hardware}\n"),
    (
        "all.yaml",
        "%%kind: Task
metadata: {name: inventory}
spec:
  params: [{name: install-disk}]
  steps: [{name: look, script: 'formwork agent inventory'}]
---
%%kind: Stage
metadata: {name: discover}
spec: {bootEnv: discovery, tasks: [inventory]}
---
%%kind: BootEnv
metadata: {name: discovery}
spec:
  architectures:
    x86_64:
      kernel: {file: discovery/vmlinuz}
      initrds: [{file: discovery/initrd.zst}]
      arguments: \"console=ttyS0 formwork.server={{ server.http }}\"
---
%%kind: Param
metadata: {name: install-disk}
spec:
  schema: {type: string, pattern: \"^/dev/\"}
  default: /dev/sda
",
    ),
];

fn tree<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Tree {
    Tree::from_texts(files.into_iter().map(|(path, text)| (path, text.replace("%%", HEAD))))
}

/// The packs of tests.
pub(crate) fn packs() -> BTreeMap<String, Tree> {
    BTreeMap::from([("hardware".to_owned(), tree(HARDWARE.iter().copied()))])
}

/// The good site with other files in place of some of it.
pub(crate) fn site(changes: &[(&str, &str)]) -> Tree {
    let mut good = tree(SITE.iter().copied());
    good.files.extend(tree(changes.iter().copied()).files);
    good
}

/// The good site with pieces of text replaced: file, what stands there, what shall.
pub(crate) fn edited(edits: &[(&str, &str, &str)]) -> Tree {
    let mut good = site(&[]);
    for (path, from, to) in edits {
        let file = good.files.get(*path).expect(path);
        let text = std::str::from_utf8(&file.bytes).expect(path);
        assert!(text.contains(from), "{path} does not contain {from}");
        let changed = tree([(*path, text.replacen(from, to, 1).as_str())]);
        good.files.extend(changed.files);
    }
    good
}

/// Compiles a tree with the packs of tests.
pub(crate) fn compiled(tree: &Tree) -> Result<Catalog, Findings> {
    from_tree(tree, &packs(), "revision-1")
}
