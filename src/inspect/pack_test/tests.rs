use super::*;
use crate::catalog::builtin_packs;
use crate::content::pack_tests;

fn pack() -> Tree {
    Tree::from_texts([
        (
            "pack.yaml",
            "apiVersion: formwork.dev/v1alpha1\nkind: Pack\nmetadata: {name: web}\nspec: {requires: [discovery]}\n",
        ),
        (
            "all.yaml",
            "\
apiVersion: formwork.dev/v1alpha1
kind: Param
metadata: {name: port}
spec: {schema: {type: integer}, default: 80}
---
apiVersion: formwork.dev/v1alpha1
kind: Template
metadata: {name: conf}
spec: {file: conf.j2}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {name: serve}
spec:
  params: [{name: port}]
  timeout: 5m
  steps:
    - {name: conf, template: conf, to: /etc/web.conf, mode: \"0600\"}
    - {name: big, if: facts.memory > 4, script: 'echo big'}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: serve}
spec: {bootEnv: discovery.discovery, tasks: [serve]}
",
        ),
        ("conf.j2", "name {{ machine.name }}\nport {{ params.port }}\n"),
        ("tests/data/conf", "name a\nport 81\n"),
    ])
}

/// The failures of one test: what, and what is wrong.
fn run(spec: &str) -> Vec<(String, String)> {
    let mut files = pack();
    let text = format!("apiVersion: formwork.dev/v1alpha1\nkind: PackTest\nmetadata: {{name: t}}\nspec:\n{spec}");
    files.files.extend(Tree::from_texts([("tests/t.yaml", text)]).files);
    let tests = pack_tests(&files, "").unwrap_or_else(|findings| panic!("{findings}\n{spec}"));
    let builtin = builtin_packs();
    let pack = PackUnderTest { name: "web", files: &files, others: &BTreeMap::new(), builtin: &builtin };
    let result = run_pack_test(&pack, &tests[0]);
    assert_eq!((result.file.as_str(), result.line), ("tests/t.yaml", 1));
    result.failures.into_iter().map(|failure| (failure.what, failure.message)).collect()
}

#[test]
fn a_test_whose_every_word_is_so_passes() {
    let failures = run("
  machine: {name: a, params: {port: 81}, address: 10.0.0.5}
  facts: {memory: 2}
  stage: serve
  firmware: bios
  expect:
    boot:
      environment: discovery.discovery
      kernel: {contains: [discovery/vmlinuz]}
      arguments: {matches: ['formwork\\.name=a ', 'BOOTIF=01-52-54-00-00-00-01$'], lacks: ['{{']}
      script: {contains: ['#!ipxe']}
    jobs:
      serve:
        environment: discovery.discovery
        destructive: false
        timeout: 5m
        steps: [conf]
        leftOut: [big]
        variables: {FORMWORK_PARAM_PORT: '81', FORMWORK_PARAM_OTHER: }
        files:
          /etc/web.conf: {isFile: data/conf, mode: '0600'}
");
    assert_eq!(failures, []);
}

#[test]
fn what_is_not_so_is_said_each_with_its_place() {
    for (spec, what, message) in [
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {steps: [conf]}}}\n",
            "job web.serve: steps",
            "is not what",
        ),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {leftOut: [big]}}}\n",
            "job web.serve: steps left out",
            "is not what",
        ),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {variables: {FORMWORK_PARAM_PORT: '81'}}}}\n",
            "job web.serve: variable FORMWORK_PARAM_PORT",
            "is `80`, not `81`",
        ),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {variables: {FORMWORK_PARAM_PORT: }}}}\n",
            "job web.serve: variable FORMWORK_PARAM_PORT",
            "is set, to `80`",
        ),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {files: {/etc/web.conf: 'x'}}}}\n",
            "job web.serve: file /etc/web.conf",
            "is not what was expected",
        ),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {files: {/etc/web.conf: {mode: '0644'}}}}}\n",
            "job web.serve: file /etc/web.conf: mode",
            "is `0600`, not `0644`",
        ),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {files: {/etc/other: x}}}}\n",
            "job web.serve: file /etc/other",
            "is not written",
        ),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {files: {/etc/web.conf: {isFile: ../pack.yaml}}}}}\n",
            "job web.serve: file /etc/web.conf",
            "has no file",
        ),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {scripts: {big: {matches: ['(']}}}}}\n",
            "job web.serve: script big",
            "is no regular expression",
        ),
        ("  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {other: {}}}\n", "job web.other", "there is none"),
        ("  task: serve\n  facts: {memory: 8}\n  expect: {boot: {}}\n", "the boot", "there is none"),
        // A job that nobody looks at fails the test all the same.
        ("  stage: serve\n  expect: {boot: {}}\n", "job web.serve", "cannot be made"),
        (
            "  task: serve\n  facts: {memory: 8}\n  expect: {jobs: {serve: {error: {}}}}\n",
            "job web.serve",
            "expected not to be",
        ),
        ("  task: gone\n  expect: {jobs: {gone: {}}}\n", "the content", "is refused"),
        ("  task: serve\n  machine: {params: {port: x}}\n  expect: {jobs: {serve: {}}}\n", "the content", "is refused"),
        ("  task: serve\n  expect: {finding: {code: twin}}\n", "the content", "gives no finding `twin`, but"),
    ] {
        let failures = run(spec);
        assert!(
            failures.iter().any(|(place, said)| place == what && said.contains(message)),
            "{spec}{failures:?} has no {what}: {message}"
        );
    }
}

#[test]
fn a_whole_text_that_differs_is_shown_as_a_diff() {
    let (files, none) = (Tree::default(), BTreeMap::new());
    let mut texts = Texts::of(&PackUnderTest { name: "web", files: &files, others: &none, builtin: &none });
    texts.same("x", "a\nb\nc\n", "a\nB\nc\n");
    let failures = texts.into_failures();
    assert_eq!(failures[0].difference.as_deref(), Some("--- expected\n+++ found\n@@ -1,3 +1,3 @@\n a\n-B\n+b\n c\n"));
}

#[test]
fn a_test_that_cannot_be_read_or_expects_nothing_is_a_finding() {
    for (spec, code) in [
        ("  task: serve\n  expect: {}\n", "pack-test"),
        ("  expect: {boot: {}}\n", "pack-test"),
        ("  task: a\n  stage: b\n  expect: {boot: {}}\n", "pack-test"),
        ("  task: a\n  expect: {bot: {}}\n", "unknown-field"),
        ("  task: a\n  expect: {jobs: {a: {files: {/x: {has: [a]}}}}}\n", "unknown-field"),
        ("  task: a\n  expect: {jobs: {a: {files: {/x: 1}}}}\n", "wrong-type"),
        ("  task: a\n", "missing-field"),
    ] {
        let text = format!("apiVersion: formwork.dev/v1alpha1\nkind: PackTest\nmetadata: {{name: t}}\nspec:\n{spec}");
        let files = Tree::from_texts([("p/tests/t.yaml", text)]);
        let findings = pack_tests(&files, "p").expect_err(spec);
        assert!(findings.0.iter().any(|finding| finding.code == code), "{spec}{findings}");
    }
}

#[test]
fn the_tests_of_the_packs_that_come_with_the_program_pass() {
    let builtin = builtin_packs();
    for (name, files) in &builtin {
        let tests = pack_tests(files, "").unwrap_or_else(|findings| panic!("{name}: {findings}"));
        assert!(!tests.is_empty(), "pack {name} has no tests");
        let pack = PackUnderTest { name, files, others: &BTreeMap::new(), builtin: &builtin };
        for test in &tests {
            let result = run_pack_test(&pack, test);
            assert!(result.failures.is_empty(), "{name}: {result:#?}");
        }
    }
}
