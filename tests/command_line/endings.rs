//! How each command ends: the exit codes that scripts rely on.

use super::site::{FORMWORK, Site, example};
use std::process::Command;

/// Command line, code. `$EXAMPLE` is a good site, `$NOWHERE` a path that is not there, `$STATE` an empty folder, `$SITE` a state
/// directory, `$LOST` one that lost its store, `$FILE` a file that is none, `$ALONE` what serves no boot network.
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
    ("plan web-1 --dir $EXAMPLE --revision nosuch", 2),
    ("plan web-1 --dir $EXAMPLE --branch main", 2),
    ("plan web-1 --dir $EXAMPLE --path lab", 2),
    ("render web-1 --dir $EXAMPLE --revision nosuch", 2),
    ("diff --dir $EXAMPLE --branch main", 2),
    ("diff --dir $EXAMPLE --path lab", 2),
    ("render web-1 --dir $EXAMPLE", 0),
    ("render web-1 --all --dir $EXAMPLE", 0),
    ("render web-1 --task configure --show-secrets --dir $EXAMPLE", 1),
    ("render web-1 --stage nowhere --dir $EXAMPLE", 3),
    ("render web-1 --stage a --task b --dir $EXAMPLE", 2),
    // What never ends is not read.
    ("render web-1 --dir $EXAMPLE --facts /dev/zero", 2),
    ("validate $EXAMPLE --age-identities /dev/zero", 2),
    ("get machines --context /dev/zero", 2),
    ("store restore /dev/zero --state-dir $STATE/restored", 2),
    ("import /dev/zero --state-dir $STATE/imported", 2),
    ("serve --sources /dev/zero $ALONE --images $EXAMPLE --state-dir $SITE", 2),
    ("serve --hosted --trust /dev/zero $ALONE --images $EXAMPLE --state-dir $SITE", 2),
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
    ("crds", 0),
    ("crds Machine", 2),
    ("completion bash", 0),
    ("completion zsh", 0),
    ("completion fish", 0),
    ("completion elvish", 0),
    ("completion powershell", 0),
    ("completion nothing", 2),
    ("man", 0),
    ("man --out $STATE/man", 0),
    ("doctor --state-dir $NOWHERE", 1),
    ("doctor --wait 0", 2),
    ("site create Not-A-Name --state-dir $STATE/x", 2),
    ("site create lab --state-dir $FILE/x", 2),
    ("site create lab --state-dir $SITE", 4),
    ("site create lab --state-dir $LOST", 4),
    ("site create lab --fresh --state-dir $LOST", 4),
    ("store check --state-dir $LOST", 2),
    ("serve --dir $EXAMPLE $ALONE --images $EXAMPLE --state-dir $LOST", 2),
    ("hook install $NOWHERE", 2),
    ("hook install $EXAMPLE/machines", 2),
    ("describe machine", 2),
    ("store check --state-dir $NOWHERE", 2),
    ("store check --state-dir $FILE", 2),
    ("store dump --state-dir $NOWHERE", 2),
    ("store backup --state-dir $NOWHERE $STATE/copy", 2),
    ("store backup --state-dir $SITE $NOWHERE/copy", 2),
    ("store backup --state-dir $SITE $FILE/copy", 2),
    ("store backup --state-dir $SITE $FILE", 4),
    ("store restore $NOWHERE --state-dir $STATE/restored", 2),
    // The store is lost, and the keys say whose it was.
    ("store restore $OTHER/store.redb --state-dir $LOST", 4),
    ("store check --state-dir $SITE", 0),
    ("serve --dir $EXAMPLE $ALONE --images $EXAMPLE --state-dir $NOWHERE", 2),
    ("serve --dir $EXAMPLE $ALONE --images $EXAMPLE --state-dir $FILE/x", 2),
    ("serve --dir $EXAMPLE $ALONE --images $NOWHERE --state-dir $SITE", 2),
    ("serve --dir $EXAMPLE $ALONE --images $FILE --state-dir $SITE", 2),
    ("serve --dir $NOWHERE $ALONE --images $EXAMPLE --state-dir $SITE", 2),
    ("serve --repository $NOWHERE $ALONE --images $EXAMPLE --state-dir $SITE", 2),
    ("serve --sources $NOWHERE $ALONE --images $EXAMPLE --state-dir $SITE", 2),
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
    let site = folder.path().join("site");
    let lost = folder.path().join("lost");
    for state in [&site, &lost] {
        let made = Command::new(FORMWORK).args(["site", "create", "lab", "--state-dir"]).arg(state).output();
        assert!(made.expect("formwork starts").status.success());
    }
    std::fs::remove_file(lost.join("store.redb")).expect("removed");
    let other = folder.path().join("other");
    let made = Command::new(FORMWORK).args(["site", "create", "rehearsal", "--state-dir"]).arg(&other).output();
    assert!(made.expect("formwork starts").status.success());
    std::fs::write(folder.path().join("file"), "a file").expect("written");
    let places = [
        ("$SITE", site.display().to_string()),
        ("$LOST", lost.display().to_string()),
        ("$OTHER", other.display().to_string()),
        ("$FILE", folder.path().join("file").display().to_string()),
        ("$EXAMPLE", example().display().to_string()),
        ("$BROKEN", broken.display().to_string()),
        ("$NOWHERE", folder.path().join("nowhere").display().to_string()),
        ("$STATE", folder.path().join("state").display().to_string()),
    ];
    let mut wrong = Vec::new();
    for (line, code) in OFFLINE {
        let words = line.replace("$ALONE", "--no-dhcp --no-tftp --address 127.0.0.1");
        let words = words
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

#[test]
fn a_reader_that_went_away_ends_a_command_quietly() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("site.yaml"), "kind: Sight\n").expect("written");
    let below = |name: &str| folder.path().join(name).display().to_string();
    let (broken, nowhere, out, example) = (below(""), below("nowhere"), below("out"), example().display().to_string());
    let secrets = ["render", "web-1", "--all", "--show-secrets", "--dir", &example, "--out", &out];
    for (words, codes) in [
        // What is so is so, whoever reads it.
        (&["validate", &broken][..], [1, 1]),
        (&["plan", "web-9", "--dir", &example][..], [3, 3]),
        (&["get", "machines", "--context", &nowhere][..], [2, 2]),
        (&secrets[..], [0, 1]),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(FORMWORK);
        command.args(words).stdout(writer.try_clone().expect("another end")).stderr(writer);
        let code = command.status().expect("formwork starts").code();
        assert!(code.is_some_and(|code| codes.contains(&code)), "{words:?}: {code:?}");
    }
}

#[test]
fn the_doctor_ends_with_what_it_found_and_says_so_in_its_last_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let created = Command::new(FORMWORK)
        .args(["site", "create", "lab", "--fresh", "--state-dir"])
        .arg(&state)
        .output()
        .expect("formwork starts");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let doctor = |state: &std::path::Path, more: &[&str]| {
        let mut command = Command::new(FORMWORK);
        command.arg("doctor").arg("--state-dir").arg(state).args(more).env_remove("FORMWORK_CONTEXT");
        command.output().expect("formwork starts")
    };
    let read = |output: &std::process::Output| -> Vec<(String, String)> {
        let checks: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let word = |check: &serde_json::Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let checks = checks.as_array().expect("checks").iter();
        checks.map(|check| (word(check, "name"), word(check, "verdict"))).collect()
    };
    // Ports that another program has, or the lack of rights, are faults of this computer: what is looked at is that code and last
    // line say what the checks say.
    let images = folder.path().join("nowhere").display().to_string();
    let nowhere = folder.path().join("no-state");
    for (state, more) in [
        (&state, vec!["-o", "json"]),
        (&nowhere, vec!["-o", "json"]),
        (&state, vec!["-o", "json", "--images", &images]),
        (&nowhere, vec!["-o", "json", "--images", &images]),
    ] {
        let output = doctor(state, &more);
        let failed = read(&output).iter().filter(|(_, verdict)| verdict == "fail").count();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        match failed {
            0 => assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{more:?}"),
            1 => assert_eq!((output.status.code(), last), (Some(1), "error: 1 thing will not work as it is")),
            more => {
                let wanted = format!("error: {more} things will not work as it is");
                assert_eq!((output.status.code(), last), (Some(1), wanted.as_str()));
            }
        }
    }
    let whole = doctor(&state, &["-o", "json"]);
    let state_checks = |output| -> Vec<String> {
        let checks = read(output).into_iter();
        checks.filter(|(name, _)| name.contains("state")).map(|(_, verdict)| verdict).collect()
    };
    assert!(state_checks(&whole).iter().all(|verdict| verdict == "ok"), "{:?}", read(&whole));
    let none = doctor(&nowhere, &["-o", "json"]);
    assert!(state_checks(&none).contains(&"fail".to_owned()), "{:?}", read(&none));
    // The table says the same for people.
    let table = doctor(&nowhere, &["-o", "table"]);
    let shown = String::from_utf8_lossy(&table.stdout).into_owned();
    assert_eq!(table.status.code(), Some(1));
    assert!(shown.contains("fail") && shown.contains("-> "), "{shown}");
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
    // Being asked about begins no run.
    ("cancel web-1 --reason x", 4),
    ("logs web-1", 3),
    // It asked what to boot, which began its run.
    ("cancel web-2 --reason x", 3),
    ("$BOOT cancel web-1", 2),
    ("$BOOT cancel web-1 --reason x", 0),
    ("cancel web-1 --reason again", 4),
    // Nobody gives boot scripts there.
    ("simulate --server 127.0.0.1 --http-port 1 --machines 1", 5),
];

#[test]
fn each_command_that_asks_a_server_ends_with_its_code() {
    let site = Site::start();
    let mut wrong = Vec::new();
    for (line, code) in ONLINE {
        // The machine's firmware asks first.
        let line = match line.strip_prefix("$BOOT ") {
            Some(line) => {
                let script = site.firmware_asks("52:54:00:00:00:01");
                assert!(script.contains("boots web.memory"), "{script}");
                line
            }
            None => line,
        };
        let words: Vec<&str> = line.split(' ').collect();
        let output = site.type_in(&words);
        if output.status.code() != Some(*code) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            wrong.push(format!("formwork {line}: {:?}, not {code}: {said}", output.status.code()));
        }
    }
    // The store that this server has open is had by no other.
    let state = site.context().with_file_name("");
    for line in ["serve --no-dhcp --no-tftp --address 127.0.0.1", "store restore $FILE --replace"] {
        let mut command = site.command();
        command.args(line.replace("$FILE", &site.context().display().to_string()).split(' '));
        if line.starts_with("serve") {
            command.arg("--dir").arg(example()).arg("--images").arg(site.images());
        }
        let output = command.arg("--state-dir").arg(&state).output().expect("formwork starts");
        if output.status.code() != Some(4) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            wrong.push(format!("formwork {line} beside a server: {:?}, not 4: {said}", output.status.code()));
        }
    }
    let context = site.context();
    let text = std::fs::read_to_string(&context).expect("a context");
    drop(site);
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("context.json");
    std::fs::write(&copy, text).expect("written");
    std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("0600");
    for line in ["get machines", "why web-1", "plan web-1", "render web-1", "simulate --server 127.0.0.1"] {
        let output =
            Command::new(FORMWORK).args(line.split(' ')).arg("--context").arg(&copy).output().expect("formwork starts");
        if output.status.code() != Some(5) {
            wrong.push(format!("formwork {line} with no server: {:?}, not 5", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_context_that_is_set_is_not_asked_for_in_the_usage_of_a_wrong_line() {
    let output =
        Command::new(FORMWORK).arg("simulate").env("FORMWORK_CONTEXT", "/x").output().expect("formwork starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--server <ADDRESS>") && !said.contains("--context"), "{said}");
}

/// Runs a line of a shell, with `$F` for the program, in this folder.
fn shell(folder: &std::path::Path, line: &str) -> Option<i32> {
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", line]).current_dir(folder).env("F", FORMWORK).env("EXAMPLE", example());
    command.env_remove("FORMWORK_CONTEXT").env_remove("FORMWORK_STATE_DIR");
    command.stderr(std::process::Stdio::null()).stdin(std::process::Stdio::null());
    command.status().expect("bash starts").code()
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error_and_a_reader_that_has_enough_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(shell(folder.path(), "$F site create lab --state-dir made"), Some(0));
    for (number, line) in [
        "$F --help",
        "$F --version",
        "$F schema",
        "$F explain",
        "$F crds",
        "$F api openapi",
        "$F completion bash",
        "$F man",
        "$F validate $EXAMPLE",
        "$F validate -o sarif $EXAMPLE",
        "$F tree --dir $EXAMPLE",
        "$F render web-1 --dir $EXAMPLE",
        "$F store check --state-dir made",
        "$F store dump --state-dir made",
        "$F user list --state-dir made",
        "$F init $NEW",
        "$F site create lab --state-dir $NEW",
    ]
    .into_iter()
    .enumerate()
    {
        for (how, whole, code) in [("full", ">/dev/full", 1), ("shut", ">&-", 1), ("gone", ">/dev/null", 0)] {
            let line = format!("{line} {whole}").replace("$NEW", &format!("{how}-{number}"));
            assert_eq!(shell(folder.path(), &line), Some(code), "{line}");
        }
        let line = format!("{line} | head -c 1 >/dev/null").replace("$NEW", &format!("head-{number}"));
        assert_eq!(shell(folder.path(), &line), Some(0), "{line}");
    }
    // What was asked is done all the same.
    assert!(folder.path().join("full-15/site.yaml").exists() && folder.path().join("shut-16/store.redb").exists());
}

#[test]
fn a_port_that_is_taken_is_told_with_its_option_and_how_to_see_who_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(shell(folder.path(), "$F site create lab --state-dir made"), Some(0));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let at = format!("127.0.0.1:{port}");
    for (option, value) in [
        ("--api-port", port.to_string()),
        ("--http-port", port.to_string()),
        ("--api-listen", at.clone()),
        ("--metrics", at.clone()),
    ] {
        let mut command = Command::new(FORMWORK);
        command.args(["serve", "--no-dhcp", "--no-tftp", "--address", "127.0.0.1", "--state-dir", "made"]);
        command.arg("--dir").arg(example()).current_dir(folder.path()).env_remove("FORMWORK_CONTEXT");
        for other in ["--api-port", "--http-port"].into_iter().filter(|other| *other != option) {
            command.args([other, "0"]);
        }
        let output = command.args([option, &value]).output().expect("formwork starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for words in [format!("cannot listen on {at} ({option})"), format!("ss -ltnp 'sport = :{port}'")] {
            assert!(said.contains(&words), "{said}");
        }
    }
}
