//! How each command ends: the exit codes that scripts rely on.

use super::site::{FORMWORK, Site, example};
use std::process::Command;

/// Command line, code. `$EXAMPLE` is a good site, `$NOWHERE` a path that is not there, `$STATE` an empty folder.
const OFFLINE: &[(&str, i32)] = &[
    ("validate $EXAMPLE", 0),
    ("validate $BROKEN", 1),
    ("validate $NOWHERE", 2),
    ("why web-1 --dir $EXAMPLE", 0),
    ("why web-1 install-disk --dir $EXAMPLE", 0),
    ("why web-2 --dir $EXAMPLE", 3),
    ("why web-1 nothing --dir $EXAMPLE", 3),
    ("why web-1 --dir $BROKEN", 1),
    ("why web-1 --dir $NOWHERE", 2),
    ("why web-1 --repository $NOWHERE", 2),
    ("why", 2),
    ("plan web-1 --dir $EXAMPLE", 0),
    ("plan web-2 --dir $EXAMPLE", 3),
    ("render web-1 --dir $EXAMPLE", 0),
    ("render web-1 --all --dir $EXAMPLE", 0),
    ("render web-1 --task configure --show-secrets --dir $EXAMPLE", 1),
    ("render web-1 --stage nowhere --dir $EXAMPLE", 3),
    ("render web-1 --stage a --task b --dir $EXAMPLE", 2),
    ("diff --dir $NOWHERE", 2),
    ("diff --dir $BROKEN", 2),
    ("diff --repository $NOWHERE", 2),
    ("diff a...b", 2),
    ("tree --dir $EXAMPLE", 0),
    ("tree --dir $BROKEN", 1),
    ("trace web-1 --dir $EXAMPLE", 0),
    ("trace web-1 run --dir $EXAMPLE", 0),
    ("trace web-1 rum --dir $EXAMPLE", 3),
    ("trace web-2 --dir $EXAMPLE", 3),
    ("explain", 0),
    ("explain Machine.spec", 0),
    ("explain Nothing", 3),
    ("explain machine.nothing", 3),
    ("schema", 0),
    ("schema Machine", 0),
    ("schema Nothing", 3),
    ("completion bash", 0),
    ("completion nothing", 2),
    ("man", 0),
    ("man --out $STATE/man", 0),
    ("doctor --state-dir $NOWHERE", 1),
    ("doctor --wait 0", 2),
    ("site create Not-A-Name --state-dir $STATE/x", 1),
    ("store check --state-dir $NOWHERE", 4),
    ("get machines --context $NOWHERE", 2),
    ("nothing", 2),
    ("--help", 0),
    ("--version", 0),
];

#[test]
fn each_command_ends_with_its_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).expect("made");
    std::fs::write(broken.join("site.yaml"), "kind: Sight\n").expect("written");
    let places = [
        ("$EXAMPLE", example().display().to_string()),
        ("$BROKEN", broken.display().to_string()),
        ("$NOWHERE", folder.path().join("nowhere").display().to_string()),
        ("$STATE", folder.path().join("state").display().to_string()),
    ];
    let mut wrong = Vec::new();
    for (line, code) in OFFLINE {
        let words = line
            .split(' ')
            .map(|word| places.iter().fold(word.to_owned(), |word, (name, path)| word.replace(name, path)));
        let output = Command::new(FORMWORK)
            .args(words)
            .env_remove("FORMWORK_CONTEXT")
            .env_remove("FORMWORK_STATE_DIR")
            .output()
            .expect("formwork starts");
        if output.status.code() != Some(*code) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            wrong.push(format!("formwork {line}: {:?}, not {code}: {said}", output.status.code()));
        }
        // What went wrong is said, and only then.
        assert_eq!(
            output.stderr.is_empty(),
            *code == 0,
            "formwork {line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const ONLINE: &[(&str, i32)] = &[
    ("get machines", 0),
    ("get machine web-9", 3),
    ("describe machine web-9", 3),
    ("why web-1", 0),
    ("why web-1 front", 0),
    ("why web-9", 3),
    ("why web-1 nothing", 3),
    ("why web-1 front --stage nowhere", 3),
    // The secret that its task names is not in the secrets folder of this server.
    ("plan web-1", 1),
    ("plan web-9", 3),
    ("render web-1", 0),
    ("render web-1 --stage install", 0),
    ("render web-1 --stage nowhere", 3),
    ("render web-1 --task configure", 0),
    ("render web-1 --task configure --show-secrets", 1),
    ("render web-1 --facts x", 2),
    ("diff", 0),
    ("diff nowhere", 3),
    ("tree", 0),
    ("trace web-1", 0),
    ("trace web-1 install-disk", 0),
    ("trace web-1 nothing", 3),
    ("trace web-9", 3),
    ("status", 0),
    ("wait machine web-1 --for ready --timeout 1s", 124),
    ("approve web-1", 4),
    ("cancel web-1 --reason x", 0),
    ("cancel web-1 --reason x", 4),
    ("logs web-1", 3),
];

#[test]
fn each_command_that_asks_a_server_ends_with_its_code() {
    let site = Site::start();
    let mut wrong = Vec::new();
    for (line, code) in ONLINE {
        let words: Vec<&str> = line.split(' ').collect();
        let output = site.type_in(&words);
        if output.status.code() != Some(*code) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            wrong.push(format!("formwork {line}: {:?}, not {code}: {said}", output.status.code()));
        }
    }
    let context = site.context();
    let text = std::fs::read_to_string(&context).expect("a context");
    drop(site);
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("context.json");
    std::fs::write(&copy, text).expect("written");
    std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("0600");
    for line in ["get machines", "why web-1", "plan web-1", "render web-1"] {
        let output =
            Command::new(FORMWORK).args(line.split(' ')).arg("--context").arg(&copy).output().expect("formwork starts");
        if output.status.code() != Some(5) {
            wrong.push(format!("formwork {line} with no server: {:?}, not 5", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
