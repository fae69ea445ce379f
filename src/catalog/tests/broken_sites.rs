//! Documents that can be read and do not fit together.

use super::Edit;

const NODE: &str = "machines/node-1.yaml";
const RULE: &str = "machines/rule.yaml";
const JOIN: &str = "packs/etcd/tasks/join.yaml";
const FLOW: &str = "workflows/node.yaml";
const ROOT: &str = "site.yaml";

/// What is changed in the good site, and all that is said then.
pub(super) fn cases() -> Vec<(&'static [Edit], &'static str)> {
    vec![
        // -- clusters --
        (
            &[("clusters/etcd.yaml", "  size: 3", "  size: 3\n  assurance: A3")],
            r#"
clusters/etcd.yaml:6:14: error: assurance A3 (a TPM proves the machine) is not available yet
  hint: A2 is the highest there is: an administrator approves a machine's first exchange
"#,
        ),
        // -- references --
        (
            &[(NODE, "workflow: node", "workflow: noed")],
            r#"
machines/node-1.yaml:11:13: error: there is no Workflow `noed`
  hint: did you mean `node`?
"#,
        ),
        (
            &[(NODE, "etcd-lab]", "etcd-lba]")],
            r#"
machines/node-1.yaml:8:28: error: there is no Profile or ClusterProfile `etcd-lba`
  hint: did you mean `etcd-lab`?
"#,
        ),
        (
            &[(FLOW, "discover, install", "discover, hardware.discovr")],
            r#"
workflows/node.yaml:5:22: error: there is no Stage `hardware.discovr`
  hint: did you mean `hardware.discover`?
"#,
        ),
        (
            &[(FLOW, "tasks: [inventory]", "tasks: [inventory, inventory]")],
            r#"
workflows/node.yaml:12:22: error: task `hardware.inventory` is in this stage twice
  hint: a stage does a task once; put the second into a stage of its own
"#,
        ),
        (
            &[(FLOW, "bootEnv: discovery", "bootEnv: disco")],
            r#"
workflows/node.yaml:11:12: error: there is no BootEnv `disco`
  hint: known here: hardware.discovery
"#,
        ),
        (
            &[("packs/etcd/stages/join.yaml", "tasks: [join]", "tasks: [hardware.inventory]")],
            r#"
packs/etcd/stages/join.yaml:6:11: error: pack `etcd` refers to `hardware.inventory` but does not require pack `hardware`
  hint: add `hardware` to spec.requires of its pack.yaml
"#,
        ),
        (
            &[(ROOT, "builtin: hardware", "builtin: hardwear")],
            r#"
site.yaml:6:16: error: no pack `hardwear` comes with this program
  hint: did you mean `hardware`?
"#,
        ),
        (
            &[(ROOT, "path: packs/etcd", "path: packs/etc")],
            r#"
packs/etcd/pack.yaml:1:1: warning: this pack is not used by the site; nothing of it is read
  hint: add `- path: packs/etcd` to spec.packs of site.yaml, or remove it
site.yaml:7:7: error: there is no packs/etc/pack.yaml
  hint: did you mean `packs/etcd`?
"#,
        ),
        (
            &[(ROOT, "    - path: packs/etcd\n", "")],
            r#"
packs/etcd/pack.yaml:1:1: warning: this pack is not used by the site; nothing of it is read
  hint: add `- path: packs/etcd` to spec.packs of site.yaml, or remove it
profiles/lab.yaml:5:12: warning: no Param declares `timezone` and no task uses it
  hint: declare it with a Param, so that its values are checked
workflows/node.yaml:5:31: error: there is no Stage `etcd.join`
  hint: the pack `etcd` is not in use: add `- builtin: etcd` to spec.packs of site.yaml
workflows/node.yaml:14:21: error: there is no Stage `etcd.join`
  hint: the pack `etcd` is not in use: add `- builtin: etcd` to spec.packs of site.yaml
"#,
        ),
        (
            &[(
                FLOW,
                "metadata: {name: install}",
                "metadata: {name: install}\nspec: {}\n---\n%%kind: Stage\nmetadata: {name: install}",
            )],
            r#"
workflows/node.yaml:14:18: error: a second Stage `install`
  hint: the first is at workflows/node.yaml:9:18
"#,
        ),
        // -- workflows --
        (
            &[(FLOW, "goTo: etcd.join", "goTo: discover")],
            r#"
workflows/node.yaml:5:22: error: after a failure, stage `install` goes on with `hardware.discover`, which is not later in this workflow
  hint: a run only goes forward: what shall be done again is a retry, or a raised run
"#,
        ),
        (
            &[(FLOW, ", etcd.join]", "]")],
            r#"
workflows/node.yaml:5:22: error: after a failure, stage `install` goes on with `etcd.join`, which is not in this workflow
  hint: add `etcd.join` after it, or change the stage's onFailure
"#,
        ),
        (
            &[(FLOW, "install, etcd.join", "install, etcd.join, install")],
            r#"
workflows/node.yaml:5:42: error: after a failure, stage `install` goes on with `etcd.join`, which is not later in this workflow
  hint: a run only goes forward: what shall be done again is a retry, or a raised run
workflows/node.yaml:5:42: error: stage `install` is in this workflow twice
  hint: a run is in a stage once; declare a second stage with the same tasks
"#,
        ),
        (
            &[(FLOW, "stages: [discover, install, etcd.join]", "stages: []")],
            r#"
workflows/node.yaml:5:11: error: a workflow has at least one stage
"#,
        ),
        // -- boxes and addresses --
        (
            &[(NODE, "macs: [\"52:54:00:00:00:01\"]", "macs: [\"52:54:00:00:00:01\", \"52-54-00-00-00-01\", \"x\"]")],
            r#"
machines/node-1.yaml:6:33: error: MAC 52:54:00:00:00:01 selects machine `node-1` already
  hint: a box is one machine: remove it from one of the two
machines/node-1.yaml:6:54: error: `x` is not the MAC address of a network card
  hint: six bytes, such as `52:54:00:00:00:01`, in quotes; neither all zeros nor a group address
"#,
        ),
        (
            &[(NODE, "macs: [\"52:54:00:00:00:01\"]", "uuid: 00000000-0000-0000-0000-000000000000\n    serial: None")],
            r#"
machines/node-1.yaml:6:11: error: 00000000-0000-0000-0000-000000000000 is a vendor's placeholder; many boxes have it
  hint: select the machine by its MAC address
machines/node-1.yaml:7:13: error: `None` is a vendor's placeholder; many boxes have it
  hint: select the machine by its MAC address
"#,
        ),
        (
            &[(NODE, "10.77.0.11", "10.78.0.11")],
            r#"
machines/node-1.yaml:7:12: error: 10.78.0.11 is in no subnet
  hint: declare the Subnet, or give an address of one that is declared
"#,
        ),
        (
            &[(NODE, "10.77.0.11", "10.77.0.150")],
            r#"
machines/node-1.yaml:7:12: error: 10.77.0.150 lies in the pool 10.77.0.100 to 10.77.0.199 of subnet `rack-1`
  hint: another machine may have been given it: reserve an address outside the pools
"#,
        ),
        (
            &[(NODE, "10.77.0.11", "10.77.0.1")],
            r#"
machines/node-1.yaml:7:12: error: 10.77.0.1 is the gateway of subnet `rack-1`
  hint: give the machine another one of that subnet, outside its pools
"#,
        ),
        (
            &[(ROOT, "10.77.0.0/24", "10.77.0.9/24")],
            r#"
site.yaml:14:9: error: `10.77.0.9/24` is an address in a network
  hint: the network is 10.77.0.0/24
"#,
        ),
        (
            &[(ROOT, "last: 10.77.0.199", "last: 10.77.1.199")],
            r#"
site.yaml:16:38: error: 10.77.1.199 is not a host's address in 10.77.0.0/24
  hint: hosts of 10.77.0.0/24 are 10.77.0.1 to 10.77.0.254
"#,
        ),
        (
            &[(RULE, "replace(':', '')", "upper")],
            r#"
machines/rule.yaml:6:9: error: the name becomes `node-52:54:00:12:34:56`, which is not one (lower-case letters, digits and `-`)
  hint: filters help, such as `mac | replace(':', '')` and `lower`
"#,
        ),
        (
            &[(RULE, "replace(':', '')", "replac(':')")],
            r#"
machines/rule.yaml:6:9: error: the name of enrollment new, line 1: unknown filter: filter replac is unknown
  hint: it may use mac, uuid, serial, architecture, subnet
"#,
        ),
        (
            &[(RULE, "{{ mac |", "{{ macs |")],
            r#"
machines/rule.yaml:6:9: error: a name cannot be made of `macs`
  hint: it may use mac, uuid, serial, architecture, subnet
"#,
        ),
        (
            &[(RULE, "subnet: rack-1, macPrefixes: [\"52:54:00\"]", "")],
            r#"
machines/rule.yaml:5:10: error: this rule would take in every box there is
  hint: give at least one of `subnet`, `macPrefixes`, `architectures`
"#,
        ),
        // -- params --
        (
            &[(NODE, "/dev/vda", "sda")],
            r#"
machines/node-1.yaml:10:19: error: param `install-disk`: "sda" does not match "^/dev/"
  hint: its schema is at builtin:hardware/all.yaml:27:11
"#,
        ),
        (
            &[("packs/etcd/pack.yaml", "params: {etcd-data-dir: /var/lib/etcd}", "version: '1'")],
            r#"
machines/node-1.yaml:11:13: error: workflow `node` needs the param `etcd-data-dir` (task `etcd.join` of stage `etcd.join`), and nothing gives it (machine `node-1` and 1 more)
  hint: give it in spec.params, in a profile, or as the Param's default
"#,
        ),
        (
            &[("profiles/lab.yaml", "{timezone: UTC}", "{timezon: UTC}")],
            r#"
profiles/lab.yaml:5:12: warning: no Param declares `timezon` and no task uses it
  hint: did you mean `timezone`?
"#,
        ),
        // -- tasks and templates --
        (
            &[(JOIN, "../scripts/join.sh", "scripts/join.sh")],
            r#"
packs/etcd/tasks/join.yaml:16:19: error: there is no file packs/etcd/tasks/scripts/join.sh
  hint: paths are relative to the document: write `../scripts/join.sh`
"#,
        ),
        (
            &[(JOIN, "../scripts/join.sh", "../../../site.yaml")],
            r#"
packs/etcd/tasks/join.yaml:16:19: error: `../../../site.yaml` leads out of the pack
  hint: files lie beside the document that names them, inside its pack; write the path from the document's folder
"#,
        ),
        (
            &[(JOIN, "if: params.timezone == 'UTC'", "if: params.timezone ==")],
            r#"
packs/etcd/tasks/join.yaml:15:11: error: `if` is not an expression: syntax error: unexpected end of input, expected expression
  hint: write it without braces, such as `params.disks is defined`
"#,
        ),
        (
            &[(JOIN, "if: params.timezone == 'UTC'", "if: params.install_disk == 'x'")],
            r#"
packs/etcd/tasks/join.yaml:15:11: error: it speaks of the param `install_disk`, which task `etcd.join` does not declare
  hint: add it to the task's spec.params: a task gets the params it declares and no others
"#,
        ),
        (
            &[(JOIN, "to: /etc/default/etcd", "mode: rw-r--r--")],
            r#"
packs/etcd/tasks/join.yaml:11:7: error: the step does not say where to: `to` is missing
packs/etcd/tasks/join.yaml:13:13: error: `rw-r--r--` is not a file's mode
  hint: three or four octal digits in quotes, such as "0644"
"#,
        ),
        (
            &[(JOIN, "template: defaults", "template: defaults\n      script: x")],
            r#"
packs/etcd/tasks/join.yaml:11:7: error: a step has exactly one of `script`, `scriptFile`, `template` and `file`
"#,
        ),
        (
            &[("packs/etcd/templates/defaults.j2", "{{ machine.name }}", "{{ machine.name }")],
            r#"
packs/etcd/templates/defaults.j2:1:19: error: template `etcd.defaults`: syntax error: unexpected `}`, expected end of variable block
"#,
        ),
        (
            &[
                ("packs/etcd/templates/defaults.j2", "{{ machine.name }}", "{{ machine.nam }}"),
                (JOIN, "    - {name: initial-cluster, required: true}\n", ""),
            ],
            r#"
packs/etcd/templates/defaults.j2:1:6: error: task `etcd.join` cannot be rendered: undefined value: `machine.nam` is undefined (tried for machine `node-1`)
  hint: give the value, or ask for it in the template: `{% if params.name is defined %}`
"#,
        ),
        (
            &[
                ("packs/etcd/templates/all.yaml", "file: defaults.j2", "text: \"{{ params.timezone.x.y }}\""),
                (JOIN, "    - {name: initial-cluster, required: true}\n", ""),
            ],
            r#"
packs/etcd/templates/all.yaml:4:14: error: task `etcd.join` cannot be rendered: undefined value: `params.timezone.x` is undefined (tried for machine `node-1`)
  hint: give the value, or ask for it in the template: `{% if params.name is defined %}`
"#,
        ),
        // -- twins and clashes between documents --
        (
            &[(
                NODE,
                "  workflow: node\n",
                "  workflow: node\n---\n%%kind: Machine\nmetadata: {name: node-2}\nspec:\n  match: {macs: [52-54-00-00-00-01]}\n  address: 10.77.0.11\n---\n%%kind: Machine\nmetadata: {name: node-1}\nspec: {match: {serial: X1}}\n",
            )],
            r#"
machines/node-1.yaml:17:18: error: MAC 52:54:00:00:00:01 selects machine `node-1` already
  hint: a box is one machine: remove it from one of the two
machines/node-1.yaml:18:12: error: 10.77.0.11 is machine `node-1`'s already
  hint: an address belongs to one machine: give this one another, or none
machines/node-1.yaml:22:18: error: a second Machine `node-1`
  hint: the first is at machines/node-1.yaml:3:18
"#,
        ),
        (
            &[(
                ROOT,
                "  pools:",
                "---\n%%kind: Subnet\nmetadata: {name: rack-2}\nspec:\n  cidr: 10.77.0.128/25\n  pools:",
            )],
            r#"
site.yaml:21:9: error: overlaps subnet `rack-1` (10.77.0.0/24)
  hint: an address belongs to one subnet
site.yaml:22:19: error: 10.77.0.100 is not a host's address in 10.77.0.128/25
  hint: hosts of 10.77.0.128/25 are 10.77.0.129 to 10.77.0.254
"#,
        ),
        (
            &[(
                NODE,
                "  workflow: node\n",
                "---\n%%kind: Site\nmetadata: {name: two}\n---\n%%kind: Pack\nmetadata: {name: two}\n",
            )],
            r#"
machines/node-1.yaml:13:7: error: a Site that is not in the root's site.yaml
  hint: a repository is one site; a part of one is a pack
machines/node-1.yaml:17:7: error: a Pack that is not in a pack.yaml
  hint: a pack is a folder of its own with a pack.yaml
"#,
        ),
        (
            &[(
                "packs/etcd/stages/join.yaml",
                "  tasks: [join]\n",
                "  tasks: [join]\n---\n%%kind: Stage\nmetadata: {name: discover}\n---\n%%kind: Subnet\nmetadata: {name: mine}\nspec: {cidr: 10.1.0.0/24}\n",
            )],
            r#"
packs/etcd/stages/join.yaml:13:7: error: pack `etcd` declares a Subnet
  hint: packs are for many sites: declare it in the site itself
workflows/node.yaml:5:12: error: `discover` could be any of etcd.discover, hardware.discover
  hint: write the pack's name before it
"#,
        ),
        (
            &[("clusters/etcd.yaml", "name: etcd-lab", "name: lab-defaults")],
            r#"
clusters/etcd.yaml:3:18: error: `lab-defaults` is a Profile already; machines name both in one list
  hint: the Profile is at profiles/lab.yaml:3:18
machines/node-1.yaml:8:28: error: there is no Profile or ClusterProfile `etcd-lab`
  hint: known here: lab-defaults
machines/rule.yaml:7:14: error: there is no Profile or ClusterProfile `etcd-lab`
  hint: known here: lab-defaults
"#,
        ),
        (
            &[(
                "clusters/etcd.yaml",
                "    - {",
                "    - {name: Bad//key, schema: {type: nonsense}}\n    - {name: all/*, param: true}\n    - {",
            )],
            r#"
clusters/etcd.yaml:7:14: error: `Bad//key` is not the name of a key
  hint: segments of lower-case letters, digits, `.`, `_`, `-`, joined by `/`; 128 characters at most
clusters/etcd.yaml:7:32: error: not a JSON Schema (draft-07): "nonsense" is not valid under any of the schemas listed in the 'anyOf' keyword
clusters/etcd.yaml:8:28: error: the key `all/*` cannot be a param
  hint: a key that jobs get as a param is named like one: lower-case letters, digits, `-`, `.`
"#,
        ),
        (
            &[("packs/etcd/pack.yaml", "params: {", "requires: [image]\n  params: {install-disk: 7, ")],
            r#"
packs/etcd/pack.yaml:5:14: error: pack `etcd` requires pack `image`, which is not in use
  hint: add it to spec.packs of site.yaml, such as `- builtin: image`
packs/etcd/pack.yaml:6:26: error: param `install-disk`: 7 is not of type "string"
  hint: its schema is at builtin:hardware/all.yaml:27:11
"#,
        ),
        (
            &[(JOIN, "- {name: timezone}", "- {name: a-b}\n    - {name: a.b}\n    - {name: timezone}")],
            r#"
packs/etcd/tasks/join.yaml:9:14: error: params `a-b` and `a.b` have the same name in a script's environment
"#,
        ),
        // -- boot environments and params --
        (
            &[(
                FLOW,
                "stages: [discover, install, etcd.join]\n",
                "stages: [discover]\n---\n%%kind: BootEnv\nmetadata: {name: local}\nspec:\n  architectures:\n    x86_64:\n      kernel: {url: 'https://example.org/vmlinuz'}\n      initrds: [{file: ../initrd}, {}]\n      arguments: \"{{ params.x }\"\n",
            )],
            r#"
workflows/node.yaml:9:18: error: `local` is the machine's own disk, and always there
  hint: give this boot environment another name
workflows/node.yaml:13:21: error: a file from elsewhere needs its sha256
  hint: write `sha256:` beside it (`sha256sum FILE`)
workflows/node.yaml:14:24: error: `../initrd` is not a path in the server's image folder
  hint: write it from that folder, such as `discovery/vmlinuz`
workflows/node.yaml:14:36: error: a file to boot has exactly one of `file` and `url`
workflows/node.yaml:15:18: error: the kernel's command line: syntax error: unexpected `}`, expected end of variable block
"#,
        ),
        (
            &[(
                FLOW,
                "stages: [discover, install, etcd.join]\n",
                "stages: [discover]\n---\n%%kind: Param\nmetadata: {name: timezone}\nspec: {schema: {type: text}}\n---\n%%kind: Param\nmetadata: {name: pin}\nspec: {secret: true, schema: {type: string}, default: 1234}\n",
            )],
            r#"
workflows/node.yaml:10:16: error: not a JSON Schema (draft-07): "text" is not valid under any of the schemas listed in the 'anyOf' keyword
  hint: see json-schema.org; a simple one is `{type: string}`
workflows/node.yaml:15:55: error: param `pin`: it is secret, and breaks the rule `/type` of its schema
  hint: its schema is at workflows/node.yaml:15:30
"#,
        ),
        (
            &[
                (
                    "packs/etcd/templates/all.yaml",
                    "spec: {file: defaults.j2}",
                    "spec:\n  text: |\n    one\n    a {{ params.timezone.x.y }}",
                ),
                (JOIN, "    - {name: initial-cluster, required: true}\n", ""),
            ],
            r#"
packs/etcd/templates/all.yaml:7:25: error: task `etcd.join` cannot be rendered: undefined value: `params.timezone.x` is undefined (tried for machine `node-1`)
  hint: give the value, or ask for it in the template: `{% if params.name is defined %}`
"#,
        ),
        // -- several at once, over files --
        (
            &[
                (NODE, "workflow: node", "workflow: noed"),
                (JOIN, "timeout: 20m", "timout: 20m"),
                (ROOT, "10.77.0.0/24", "10.77.0.0"),
            ],
            r#"
machines/node-1.yaml:11:13: error: there is no Workflow `noed`
  hint: did you mean `node`?
packs/etcd/tasks/join.yaml:9:3: error: unknown field `timout`
  hint: did you mean `timeout`?
site.yaml:14:9: error: `10.77.0.0` is not a network
  hint: write it as ADDRESS/LENGTH, such as `10.77.0.0/24`
"#,
        ),
    ]
}
