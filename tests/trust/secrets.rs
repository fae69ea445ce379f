//! Secrets in Git: encrypted by the real `sops` with age keys, read here.

use super::repository::{By, Repository, run};
use super::site::{FORMWORK, Site};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SITE: &str = "apiVersion: formwork.dev/v1alpha1
kind: Site
metadata: {name: lab}
spec: {}
---
apiVersion: formwork.dev/v1alpha1
kind: Param
metadata: {name: password}
spec: {schema: {type: string, minLength: 8}}
---
apiVersion: formwork.dev/v1alpha1
kind: Param
metadata: {name: motd}
spec: {schema: {type: string}}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {name: greet}
spec:
  params: [{name: password, required: true}, {name: motd}]
  steps: [{name: show, script: 'echo \"$FORMWORK_PARAM_MOTD\"'}]
---
apiVersion: formwork.dev/v1alpha1
kind: BootEnv
metadata: {name: ram}
spec:
  architectures:
    x86_64: {kernel: {file: vmlinuz}, initrds: [{file: initrd}]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: greet}
spec: {bootEnv: ram, tasks: [greet]}
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {name: greet}
spec: {stages: [greet]}
---
apiVersion: formwork.dev/v1alpha1
kind: Machine
metadata: {name: node}
spec: {match: {macs: ['52:54:00:00:00:01']}, workflow: greet, profiles: [database]}
";

const PROFILE: &str = "apiVersion: formwork.dev/v1alpha1
kind: Profile
metadata: {name: database}
spec:
  params:
    password: correct-horse-battery
    motd: welcome
";

/// `sops`, where it is: on the path, or where `scripts/test` built it.
fn sops() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("cache/sops/sops");
    let on_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    on_path.map(|folder| folder.join("sops")).chain([built]).find(|path| path.is_file())
}

/// What a test of this file needs; `None`, said aloud, where it is not there.
fn tools(test: &str) -> Option<PathBuf> {
    let age = Command::new("age-keygen").arg("--version").output().is_ok();
    match (sops(), age) {
        (Some(sops), true) => Some(sops),
        (None, _) => {
            println!("SKIPPED {test}: no sops here; scripts/test builds one");
            None
        }
        (_, false) => {
            println!("SKIPPED {test}: no age-keygen here (package age)");
            None
        }
    }
}

/// Makes an identity and gives its recipient.
fn identity(repository: &Repository, name: &str) -> String {
    let file = repository.root().join(name);
    run(Command::new("age-keygen").arg("-o").arg(&file));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let recipient = run(Command::new("age-keygen").arg("-y").arg(&file)).stdout;
    String::from_utf8(recipient).unwrap().trim().to_owned()
}

fn encrypt(sops: &Path, repository: &Repository, file: &str, more: &[&str]) {
    let mut command = Command::new(sops);
    command.current_dir(repository.root().join("work")).args(["encrypt", "--in-place"]).args(more).arg(file);
    run(&mut command);
}

fn validate(repository: &Repository, identities: Option<&str>) -> Output {
    let mut command = Command::new(FORMWORK);
    command.arg("validate");
    if let Some(name) = identities {
        command.arg("--age-identities").arg(repository.root().join(name));
    }
    command.arg(repository.root().join("work")).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether any file below a folder has these bytes, or any object of a repository there once it is inflated.
fn holds(folder: &Path, wanted: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        if folder.join("objects").is_dir() {
            let objects = git2::Repository::open_bare(&folder).unwrap();
            let objects = objects.odb().unwrap();
            objects
                .foreach(|id| {
                    let object = objects.read(*id).unwrap();
                    if object.data().windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
                        found.push(folder.join(id.to_string()));
                    }
                    true
                })
                .unwrap();
        }
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path)
                .unwrap_or_default()
                .windows(wanted.len())
                .any(|part| part == wanted.as_bytes())
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_file_that_sops_encrypted_gives_its_params_to_jobs_and_to_nobody_who_looks() {
    let Some(sops) = tools("a_file_that_sops_encrypted_gives_its_params_to_jobs_and_to_nobody_who_looks") else {
        return;
    };
    let repository = Repository::new();
    let recipient = identity(&repository, "age.txt");
    repository.write("work/site.yaml", SITE);
    repository.write("work/profiles/database.yaml", PROFILE);
    encrypt(&sops, &repository, "profiles/database.yaml", &["--age", &recipient, "--encrypted-regex", "^password$"]);
    let first = repository.commit(By::Nobody, "encrypted", &[]);
    repository.push();

    // An author without the key sees that the shape is right; with it, that the values are too.
    for identities in [None, Some("age.txt")] {
        let output = validate(&repository, identities);
        assert!(output.status.success(), "{}", text(&output));
    }

    let identities = repository.root().join("age.txt");
    let site = Site::start(&repository, &["--age-identities", identities.to_str().unwrap()]);
    site.until_served(&first);
    let secret = "correct-horse-battery";
    let looks: &[&[&str]] = &[
        &["render", "node"],
        &["render", "node", "-o", "json"],
        &["why", "node", "password"],
        &["why", "node", "password", "-o", "json"],
        &["why", "node", "-o", "json"],
        &["plan", "-o", "json"],
        &["status", "-o", "json"],
        &["events", "-o", "json"],
        &["get", "machines", "-o", "json"],
        &["get", "profiles", "-o", "json"],
        &["describe", "node"],
    ];
    for words in looks {
        let said = text(&site.type_in(words));
        assert!(!said.contains(secret), "{words:?}: {said}");
    }
    assert!(site.say(&["render", "node"]).contains("(secret sops/password/"), "its place is taken");
    let why = site.say(&["why", "node", "password", "-o", "json"]);
    assert!(why.contains("profiles/database.yaml") && why.contains("sops/password/"), "{why}");
    assert!(site.say(&["render", "node", "--show-secrets"]).contains(secret), "the job has it");
    assert_eq!(holds(&repository.root().join("state"), secret), Vec::<PathBuf>::new(), "nothing is written");
    // What is looked through is what there is: a name that is no secret is in an object, and only there pressed together.
    let shown = holds(&repository.root().join("state/mirror.git"), "metadata: {name: greet}");
    assert!(!shown.is_empty(), "objects of the mirror are looked through");

    // A new password is a change, and the next job has it.
    let mut command = Command::new(&sops);
    command.current_dir(repository.root().join("work")).env("SOPS_AGE_KEY_FILE", &identities).args([
        "set",
        "profiles/database.yaml",
        "[\"spec\"][\"params\"][\"password\"]",
        "\"another-horse\"",
    ]);
    run(&mut command);
    let second = repository.commit(By::Nobody, "rotated", &[]);
    repository.push();
    site.until_served(&second);
    let shown = site.say(&["render", "node", "--show-secrets"]);
    assert!(shown.contains("another-horse") && !shown.contains(secret), "{shown}");

    // Somebody without the key changes what it says.
    let file = repository.root().join("work/profiles/database.yaml");
    let tampered = std::fs::read_to_string(&file).unwrap().replace("motd: welcome", "motd: pwned");
    let third = repository.commit(By::Nobody, "tampered", &[("profiles/database.yaml", &tampered)]);
    repository.push();
    let status = site.until(&["\"condition\": \"Stalled\"", &third, "the MAC does not fit"]);
    assert!(status.contains("profiles/database.yaml:"), "{status}");

    // A server without the key refuses it, and says for whom it is.
    drop(site);
    repository.git(&["reset", "-q", "--hard", &second]);
    repository.commit(By::Nobody, "again", &[]);
    repository.push();
    let site = Site::start(&repository, &[]);
    site.until(&["\"condition\": \"Stalled\"", &recipient, "--age-identities FILE"]);
}

#[test]
fn every_way_that_sops_encrypts_is_read_and_every_break_is_a_finding_with_its_place() {
    let Some(sops) = tools("every_way_that_sops_encrypts_is_read_and_every_break_is_a_finding_with_its_place") else {
        return;
    };
    let repository = Repository::new();
    let (recipient, _) = (identity(&repository, "age.txt"), identity(&repository, "other.txt"));
    repository.write("work/site.yaml", SITE);
    let encrypted = |more: &[&str], profile: &str| {
        repository.write("work/profiles/database.yaml", profile);
        encrypt(&sops, &repository, "profiles/database.yaml", &[&["--age", &recipient], more].concat());
        std::fs::read_to_string(repository.root().join("work/profiles/database.yaml")).unwrap()
    };

    for more in [
        ["--encrypted-regex", "^params$"],
        ["--encrypted-regex", "^(password|motd)$"],
        ["--encrypted-suffix", "word"],
        ["--unencrypted-regex", "^(apiVersion|kind|metadata|motd)$"],
    ] {
        encrypted(&more, PROFILE);
        let output = validate(&repository, Some("age.txt"));
        assert!(output.status.success(), "{more:?}: {}", text(&output));
        // What is in it is checked, and not told: this password is too short.
        encrypted(&more, &PROFILE.replace("correct-horse-battery", "shorty"));
        let said = text(&validate(&repository, Some("age.txt")));
        assert!(said.contains("profiles/database.yaml:") && !said.contains("shorty"), "{more:?}: {said}");
        assert!(!validate(&repository, Some("age.txt")).status.success(), "{more:?}");
        assert!(validate(&repository, None).status.success(), "{more:?}: unknown without the key");
    }
    // JSON is YAML.
    let json = r#"{"apiVersion": "formwork.dev/v1alpha1", "kind": "Profile", "metadata": {"name": "database"},
        "spec": {"params": {"password": "correct-horse-battery", "motd": "x"}}}"#;
    encrypted(&["--encrypted-regex", "^params$", "--input-type", "json", "--output-type", "json"], json);
    assert!(validate(&repository, Some("age.txt")).status.success());

    // All of it: names too.
    encrypted(&[], PROFILE);
    let said = text(&validate(&repository, Some("age.txt")));
    assert!(
        said.contains("apiVersion is encrypted, and is there to be shown") && said.contains("--encrypted-regex"),
        "{said}"
    );

    let whole = encrypted(&["--encrypted-regex", "^params$"], PROFILE);
    let said = text(&validate(&repository, Some("other.txt")));
    assert!(said.contains("none of the identities here opens it") && said.contains("sops updatekeys"), "{said}");
    let line = whole.lines().position(|line| line.contains("password: ENC")).unwrap() + 1;
    let data = whole.split("AES256_GCM,data:").nth(1).unwrap().split(',').next().unwrap();
    let flipped = if data.starts_with('A') { data.replacen('A', "B", 1) } else { format!("A{}", &data[1..]) };
    repository.write("work/profiles/database.yaml", &whole.replacen(data, &flipped, 1));
    let said = text(&validate(&repository, Some("age.txt")));
    assert!(said.contains(&format!("profiles/database.yaml:{line}:")) && said.contains("was changed"), "{said}");

    let loose = repository.root().join("age.txt");
    std::fs::set_permissions(&loose, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let output = validate(&repository, Some("age.txt"));
    assert!(output.status.code() == Some(2) && text(&output).contains("chmod 0600"), "{}", text(&output));
}
