//! Whatever stands in a repository, reading it ends and says something; it never panics.

use super::{Finding, Tree, junk, load};
use crate::catalog::from_tree;
use crate::catalog::testing::{packs, site};
use proptest::prelude::*;

/// Every finding names a file and a place that can be there.
fn sound(findings: &[Finding]) {
    for finding in findings {
        assert!(finding.line >= 1 && finding.column >= 1 && !finding.file.is_empty(), "{finding:?}");
    }
}

fn try_tree(tree: &Tree) {
    if let Err(findings) = load(tree, &packs()) {
        assert!(findings.refuse());
        sound(&findings.0);
    }
    match from_tree(tree, &packs(), "r") {
        Ok(catalog) => sound(&catalog.warnings.0),
        Err(findings) => {
            assert!(findings.refuse(), "refused without an error");
            sound(&findings.0);
        }
    }
}

/// Pieces of YAML that mean something to the loader, so that noise gets further than the first line.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("---\n".to_owned()),
        Just("...\n".to_owned()),
        Just("apiVersion: formwork.dev/v1alpha1\n".to_owned()),
        prop::sample::select(vec!["Machine", "Task", "Stage", "Site", "Pack", "Param", "Subnet", "Enrollment"])
            .prop_map(|kind| format!("kind: {kind}\n")),
        Just("metadata: {name: a}\n".to_owned()),
        Just("spec:\n".to_owned()),
        Just("  match: {macs: [x, *a]}\n".to_owned()),
        Just("  params: &a {x: {secret: y}, ? [1] : 2}\n".to_owned()),
        Just("  steps: [{if: '}}', script: |\n".to_owned()),
        Just("  schema: {$ref: '#/nowhere'}\n".to_owned()),
        "[ \t:{}\\[\\],&*!|>%@'\"#~<>\r\n\u{e4}\u{feff}-]{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        try_tree(&Tree::from_texts([("site.yaml", bytes.clone()), ("machines/a.yaml", bytes)]));
    }

    #[test]
    fn yaml_of_meaningful_pieces_is_read_without_panic(pieces in prop::collection::vec(piece(), 0..24)) {
        let mut tree = site(&[("machines/a.yaml", &pieces.concat())]);
        try_tree(&tree);
        tree.files.insert("site.yaml".into(), Tree::from_texts([("x", pieces.concat())]).files["x"].clone());
        try_tree(&tree);
    }

    #[test]
    fn a_good_site_with_bytes_changed_anywhere_is_read_without_panic(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        length in 0_usize..9,
        new in prop_oneof![prop::collection::vec(any::<u8>(), 0..6), "[ \n:{}\\[\\]\"'|>&*-]{0,4}".prop_map(String::into_bytes)],
    ) {
        let mut tree = site(&[]);
        let paths: Vec<String> = tree.files.keys().cloned().collect();
        let file = tree.files.get_mut(file.get(&paths)).expect("there");
        let mut bytes = file.bytes.to_vec();
        let start = at.index(bytes.len());
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, new);
        file.bytes = bytes.into();
        try_tree(&tree);
    }

    #[test]
    fn a_normal_mac_stays_the_same_when_made_normal_again(text in "[0-9a-fA-F:.-]{0,20}") {
        if let Some(mac) = junk::normal_mac(&text) {
            prop_assert_eq!(junk::normal_mac(&mac), Some(mac));
        }
    }
}

#[test]
fn the_place_of_a_key_its_twin_and_its_value_are_exact() {
    let text = "# head\n---\na:\n  - b: 1\n    \u{e4}: {c: x, c: y}\n  - |\n    text\n    ---more\n--- # next\r\nz: 1\r\n...\nlast: [1,\n  2]\n";
    let tree = Tree::from_texts([("f.yaml", text)]);
    let mut report = super::Report::default();
    let documents = super::document::read("f.yaml", &tree.files["f.yaml"], &mut report);
    let places: Vec<String> = documents.iter().map(|(document, _)| document.place().to_string()).collect();
    assert_eq!(places, ["f.yaml:3:1", "f.yaml:10:1", "f.yaml:12:1"]);
    let first = &documents[0].0;
    for (path, value, key) in [
        (&["a".into(), 0.into(), "b".into()][..], "4:8", "4:5"),
        (&["a".into(), 0.into(), "\u{e4}".into(), "c".into()], "5:12", "5:9"),
        (&["a".into(), 1.into()], "7:5", "7:5"),
        (&["a".into(), 7.into(), "b".into()], "4:3", "4:3"),
    ] {
        assert_eq!(report.place(first.value(path)).to_string(), format!("f.yaml:{value}"), "{path:?}");
        assert_eq!(report.place(first.key(path)).to_string(), format!("f.yaml:{key}"), "{path:?}");
    }
    assert_eq!(
        report.into_findings().to_string(),
        "f.yaml:5:15: error: the key `c` is here a second time\n  hint: keep one of the two"
    );
    assert_eq!(super::place_of(documents[2].0.value(&["last".into(), 1.into()])).to_string(), "f.yaml:13:3");
}

#[test]
fn a_finding_in_a_text_of_endless_depth_has_a_place() {
    let text = format!("a: 1\na: 2\nb:\n  {}x\n", "- ".repeat(1_000_000));
    let tree = Tree::from_texts([("f.yaml", text)]);
    let mut report = super::Report::default();
    assert!(super::document::read("f.yaml", &tree.files["f.yaml"], &mut report).is_empty());
    let said = report.into_findings().to_string();
    assert!(said.starts_with("f.yaml:2:1: error: the key `a` is here a second time"), "{said}");
}

#[test]
fn a_field_that_is_wrong_is_not_called_missing_too() {
    for (retries, expected) in [
        ("{limit: -1}", &["spec.retries.limit: integer `-1`, expected a whole number, 0 or more"][..]),
        ("{backoff: 1s}", &["spec.retries.limit is missing"]),
    ] {
        let text = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Task\nmetadata: {{name: a}}\nspec:\n  retries: {retries}\n  steps: [{{name: s, script: 'true'}}]\n"
        );
        let findings = load(&site(&[("tasks.yaml", &text)]), &packs()).unwrap_err();
        let messages: Vec<&str> = findings.0.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(messages, expected, "{retries}");
    }
}

#[test]
fn what_is_missing_is_told_with_its_whole_path_and_how_it_is_written_without_a_name_too() {
    for (kind, rest, expected) in [
        (
            "Enrollment",
            "metadata: {}\nspec: {}\n",
            &[
                ("metadata.name is missing", "write `metadata: {name: …}`"),
                ("spec.match is missing", "write `match: …` there, map: Which machines"),
                (
                    "spec.name is missing",
                    "write `name: …` there, text: A template for its name, over `mac`, `uuid`, `serial`, `architecture`, `subnet`",
                ),
            ][..],
        ),
        (
            "BootEnv",
            "metadata: {name: a}\nspec: {architectures: {aarch64: {kernel: {file: k}}, x86_64: {}}}\n",
            &[("spec.architectures.x86_64.kernel is missing", "write `kernel: …` there, map: The kernel")],
        ),
        (
            "BootEnv",
            "metadata: {}\nspec: {endsBy: nobody}\n",
            &[
                ("metadata.name is missing", "write `metadata: {name: …}`"),
                (
                    "a boot environment says what to boot: `architectures` is missing",
                    "write `architectures: {x86_64: {kernel: {file: …}, initrds: [{file: …}]}}`",
                ),
                ("`nobody` is not a value of spec.endsBy", "known here: agent, callback, nothing"),
            ],
        ),
        (
            "BootEnv",
            "metadata: {name: a}\nspec: {endsBy: 7, architectures: {x86_64: {kernel: {}, initrds: [{file: a, url: b}, 5]}}}\n",
            &[
                ("spec.endsBy: integer `7`, expected string or map", ""),
                ("a file to boot has exactly one of `file` and `url`", ""),
                ("a file to boot has exactly one of `file` and `url`", ""),
                ("spec.architectures.x86_64.initrds[1]: integer `5`, expected a map: FileSource", ""),
            ],
        ),
        (
            "Template",
            "metadata: {}\nspec: {text: a, file: b}\n",
            &[
                ("metadata.name is missing", "write `metadata: {name: …}`"),
                ("a template has exactly one of `file` and `text`", ""),
            ],
        ),
        (
            "Task",
            "metadata: {}\nspec: {params: [{}], steps: [{name: a}, {script: 5}, {file: a}, {template: a, to: /a}]}\n",
            &[
                ("metadata.name is missing", "write `metadata: {name: …}`"),
                ("spec.params[0].name is missing", "write `name: …` there, text: The param's name"),
                ("a step has exactly one of `script`, `scriptFile`, `template` and `file`", ""),
                ("spec.steps[1].script: integer `5`, expected text", "put it in quotes: `\"5\"`"),
                ("the step does not say where to: `to` is missing", ""),
            ],
        ),
        (
            "Task",
            "metadata: {}\nspec: {params: [{}]}\n",
            &[
                ("metadata.name is missing", "write `metadata: {name: …}`"),
                ("spec.steps is missing", "write `steps: …` there, list of map: What it does, in order"),
                ("spec.params[0].name is missing", "write `name: …` there, text: The param's name"),
            ],
        ),
    ] {
        let text = format!("apiVersion: formwork.dev/v1alpha1\nkind: {kind}\n{rest}");
        let findings = load(&site(&[("made.yaml", &text)]), &packs()).unwrap_err();
        let said: Vec<(&str, &str)> = findings
            .0
            .iter()
            .map(|finding| (finding.message.as_str(), finding.hint.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(said, expected, "{kind}");
    }
}
