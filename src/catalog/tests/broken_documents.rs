//! Documents that cannot be read: text, envelope, spec.

use super::Edit;

const NODE: &str = "machines/node-1.yaml";
const JOIN: &str = "packs/etcd/tasks/join.yaml";

/// What is changed in the good site, and all that is said then.
pub(super) fn cases() -> Vec<(&'static [Edit], &'static str)> {
    vec![
        // -- the text --
        (
            &[(NODE, "  workflow: node", "\tworkflow: node")],
            r#"
machines/node-1.yaml:11:1: error: not YAML: found a tab character that violates indentation, while scanning a plain scalar
  hint: a line is indented by a tab: YAML is indented by spaces
"#,
        ),
        (
            &[(NODE, "  workflow: node", "  workflow: a: b")],
            r#"
machines/node-1.yaml:11:14: error: not YAML: mapping values are not allowed in this context
  hint: a `:` in plain text needs quotes, or the indentation is off
"#,
        ),
        (
            &[(NODE, "  workflow: node", "  workflow: node\n  profiles: []")],
            r#"
machines/node-1.yaml:12:3: error: the key `profiles` is here a second time
  hint: keep one of the two
"#,
        ),
        (
            &[(NODE, "  workflow: node", "  workflow: !node {}")],
            r#"
machines/node-1.yaml:11:13: error: not YAML: a value with a tag (`!…`)
  hint: content uses no tags: write the value as a map, such as `{goTo: stage}`
"#,
        ),
        (
            &[(NODE, "install-disk: /dev/vda", "1: x")],
            r#"
machines/node-1.yaml:10:5: error: the key `1` is not text
  hint: put it in quotes
"#,
        ),
        (
            &[(NODE, "install-disk: /dev/vda", "install-disk: /dev/vda\n    <<: {a: b}")],
            r#"
machines/node-1.yaml:11:5: error: merge keys (`<<`) are not part of the format
  hint: write the values out, or put them into a Profile
"#,
        ),
        (
            &[(NODE, "install-disk: /dev/vda", "install-disk: /dev/vda\n    big: 123456789012345678901234567890")],
            r#"
machines/node-1.yaml:11:5: warning: no Param declares `big` and no task uses it
  hint: declare it with a Param, so that its values are checked
machines/node-1.yaml:11:10: error: the number 123456789012345678901234567890 cannot be kept exactly
  hint: put it in quotes if it is text
"#,
        ),
        // -- the envelope --
        (
            &[(NODE, "apiVersion: formwork.dev/v1alpha1", "apiVersion: v1")],
            r#"
machines/node-1.yaml:1:13: error: apiVersion "v1" is not known
  hint: this program reads `formwork.dev/v1alpha1`
"#,
        ),
        (
            &[(NODE, "kind: Machine", "kind: Machin")],
            r#"
machines/node-1.yaml:2:7: error: kind `Machin` is not known
  hint: did you mean `Machine`?
"#,
        ),
        (
            &[(NODE, "kind: Machine", "kind: Machine\nstatus: {}")],
            r#"
machines/node-1.yaml:3:1: error: unknown field `status`
  hint: known here: apiVersion, kind, metadata, spec
"#,
        ),
        (
            &[(NODE, "name: node-1,", "name: Node_1,")],
            r#"
machines/node-1.yaml:3:18: error: `Node_1` is not a name (labels of lower-case letters, digits and `-`, joined by dots, 63 at most)
  hint: `node-1` would be one
"#,
        ),
        (
            &[(NODE, "name: node-1, ", "")],
            r#"
machines/node-1.yaml:3:11: error: metadata.name is missing
  hint: write `metadata: {name: …}`
"#,
        ),
        // -- the spec --
        (
            &[(NODE, "  workflow: node", "  workflw: node\n  run: soon\n  protect: 7")],
            r#"
machines/node-1.yaml:11:3: error: unknown field `workflw`
  hint: did you mean `workflow`?
machines/node-1.yaml:12:8: error: spec.run: string "soon", expected a whole number, 0 or more
machines/node-1.yaml:13:12: error: spec.protect: integer `7`, expected true or false
  hint: write `true` or `false`, without quotes
"#,
        ),
        (
            &[(NODE, "    macs:", "    mac:")],
            r#"
machines/node-1.yaml:6:5: error: unknown field `mac`
  hint: did you mean `macs`?
"#,
        ),
        (
            &[(JOIN, "timeout: 20m", "timeout: 20")],
            r#"
packs/etcd/tasks/join.yaml:9:12: error: spec.timeout: integer `20`, expected text
  hint: a length of time has a unit: `20s`, `20m`
"#,
        ),
        (
            &[(JOIN, "timeout: 20m", "onInterrupt: again")],
            r#"
packs/etcd/tasks/join.yaml:9:16: error: `again` is not a value of spec.onInterrupt
  hint: known here: fail, rerun
"#,
        ),
        (
            &[(JOIN, "{name: timezone}", "{nam: timezone}\n    - {required: yes, name: a, nmae: b}")],
            r#"
packs/etcd/tasks/join.yaml:8:7: error: spec.params[2].name is missing
  hint: write `name: …` there, text: The param's name
packs/etcd/tasks/join.yaml:8:8: error: unknown field `nam`
  hint: did you mean `name`?
packs/etcd/tasks/join.yaml:9:18: error: spec.params[3].required: string "yes", expected true or false
  hint: write `true` or `false`, without quotes
packs/etcd/tasks/join.yaml:9:32: error: unknown field `nmae`
  hint: did you mean `name`?
"#,
        ),
    ]
}
