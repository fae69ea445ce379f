//! The whole server: `sources.yaml`, webhooks of every kind, several sources, and nowhere a secret.

use crate::https_server::HttpsServer;
use crate::proxy::Proxy;
use crate::repository::{Repository, closed_file};
use crate::several::{SITE, machine, param, profile};
use crate::site::Site;
use ring::hmac;
use std::process::Command;

const TOKEN: &str = "token-hunter22-of-the-platform";
const HOOK: &str = "hook-hunter22-of-the-forge";

fn signature(body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, HOOK.as_bytes()), body.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_server_follows_several_sources_and_no_secret_is_in_anything_that_it_says() {
    let (main, tenant) = (Repository::new(), Repository::new());
    let folder = tempfile::tempdir().unwrap();
    main.push("platform", &[("site.yaml", SITE), ("base.yaml", &format!("{}---\n{}", param(), profile("base", "x")))]);
    tenant.push("a", &[("machines.yaml", &machine("a-1", 1, "base"))]);
    let server = HttpsServer::start(main.folder.path(), Some(&format!("deploy:{TOKEN}")));
    let proxy = Proxy::start(server.port);
    closed_file(folder.path(), "platform.token", &format!("{TOKEN}\n"));
    closed_file(folder.path(), "hook.secret", &format!("{HOOK}\n"));
    std::fs::copy(&server.authority, folder.path().join("authority.pem")).unwrap();
    // The interval is a day: whatever comes soon comes by a webhook.
    let sources = format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - name: platform\n    url: \
         https://127.0.0.1:{}/site.git\n    branch: main\n    interval: 1d\n    credentials: {{user: deploy, passwordFile: \
         platform.token}}\n    certificateAuthorityFile: authority.pem\n    webhook: {{kind: github, secretFile: hook.secret}}\n  \
         - name: team-a\n    url: {}\n    branch: main\n    mount: tenants/a\n    allow: {{kinds: [Machine], machines: \
         ['a-*']}}\n",
        proxy.port,
        tenant.bare().display()
    );
    let path = folder.path().join("sources.yaml");
    std::fs::write(&path, sources).unwrap();
    let site = Site::start(folder.path(), &["--sources", path.to_str().unwrap()]);
    let serves = |status: &serde_json::Value, machines: usize| {
        status["content"]["condition"] == "Ready" && status["machines"]["expected"] == machines
    };
    site.until("both are there", |status| serves(status, 1));

    // A push that a webhook tells of. The webhook may come before the push is visible: it does here.
    let second = main.commit("second", &[("more.yaml", &machine("p-1", 11, "base"))]);
    let body = r#"{"ref":"refs/heads/main"}"#;
    assert_eq!(
        site.post("/hooks/platform", &[("x-hub-signature-256", &format!("sha256={}", signature(body)))], body),
        202
    );
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    main.git(&["push", "-q", "origin", "HEAD:main"]);
    let status = site.until("the platform's push serves", |status| serves(status, 2));
    assert_eq!(status["sources"][0]["head"], second.as_str());
    // Forged ones are refused, whatever they name.
    for (path, headers) in [
        ("/hooks/platform", vec![]),
        ("/hooks/platform", vec![("x-hub-signature-256", "sha256=00")]),
        ("/hooks/platform", vec![("x-gitlab-token", HOOK)]),
        ("/hooks/team-a", vec![("x-gitlab-token", HOOK)]),
        ("/hooks/nobody", vec![]),
    ] {
        assert_eq!(site.post(path, &headers, body), 401, "{path} {headers:?}");
    }

    // A tenant takes what is not its own: refused, named, and the site goes on.
    tenant.push("mine now", &[("machines.yaml", &machine("p-2", 12, "base"))]);
    let status = site.until("the tenant is refused", |status| status["sources"][1]["findings"][0].is_string());
    let finding = status["sources"][1]["findings"][0].as_str().unwrap();
    assert!(
        finding.starts_with("tenants/a/machines.yaml:3:18: error: source `team-a` may not declare the machine `p-2`"),
        "{finding}"
    );
    assert_eq!(status["machines"]["expected"], 2);
    let (said, good) = site.type_in(&["status"]);
    assert!(!good && said.contains("team-a") && said.contains("its last good commit is used"), "{said}");
    let (events, _) = site.type_in(&["events"]);
    assert!(events.contains("source-refused") && events.contains("mine now"), "{events}");

    // Everything goes wrong with the credential: a wrong one, an open one, a server that is away.
    server.set_login(Some("deploy:another"));
    let good = signature(body);
    let wake = || site.post("/hooks/platform", &[("x-hub-signature-256", &format!("sha256={good}"))], body);
    assert_eq!(wake(), 202);
    site.until("the token is refused", |status| {
        status["sources"][0]["failure"].as_str().is_some_and(|failure| failure.contains("HTTP 401"))
    });
    proxy.pass_only(0, false);
    let (status, _) = site.type_in(&["status", "-o", "json"]);
    let (doctor, _) = site.type_in(&["get", "revisions"]);
    let process = std::fs::read(format!("/proc/{}/cmdline", site.process())).unwrap();
    let children = Command::new("ps").args(["-eo", "args"]).output().map(|output| output.stdout).unwrap_or_default();
    let everything = [
        ("log", site.log()),
        ("status", status),
        ("events", site.type_in(&["events", "-o", "json"]).0),
        ("revisions", doctor),
        ("command line", String::from_utf8_lossy(&process).into_owned()),
        ("all processes", String::from_utf8_lossy(&children).into_owned()),
        ("what is kept of the source", std::fs::read_to_string(site.state.join("remotes/platform.json")).unwrap()),
        ("git's own settings", std::fs::read_to_string(site.state.join("remotes/platform.git/config")).unwrap()),
    ];
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("deploy:{TOKEN}"));
    for (what, text) in &everything {
        for secret in [TOKEN, HOOK, &encoded] {
            assert!(!text.contains(secret), "{what} has a secret in it: {text}");
        }
    }
    assert!(everything[0].1.len() > 1_000, "the log is not read");
}

#[test]
fn webhooks_of_gitea_gitlab_and_anybody_wake_their_source() {
    for kind in ["gitea", "gitlab", "hmac"] {
        let repository = Repository::new();
        let folder = tempfile::tempdir().unwrap();
        repository.push(
            "first",
            &[
                ("site.yaml", SITE),
                ("m.yaml", &machine("a-1", 1, "base")),
                ("p.yaml", &format!("{}---\n{}", param(), profile("base", "x"))),
            ],
        );
        closed_file(folder.path(), "hook.secret", HOOK);
        let server = HttpsServer::start(repository.folder.path(), None);
        std::fs::copy(&server.authority, folder.path().join("authority.pem")).unwrap();
        let sources = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - name: site\n    url: {}\n    branch: main\n    \
             interval: 1d\n    certificateAuthorityFile: authority.pem\n    webhook: {{kind: {kind}, secretFile: hook.secret}}\n",
            server.url("site.git")
        );
        let path = folder.path().join("sources.yaml");
        std::fs::write(&path, sources).unwrap();
        let site = Site::start(folder.path(), &["--sources", path.to_str().unwrap()]);
        site.until("it serves", |status| status["content"]["condition"] == "Ready");
        let second = repository.push("second", &[("m.yaml", &machine("a-2", 2, "base"))]);
        let body = "{}";
        let signed = signature(body);
        let (good, wrong) = match kind {
            "gitea" => (("x-gitea-signature", signed), ("x-gitlab-token", HOOK.to_owned())),
            "gitlab" => (("x-gitlab-token", HOOK.to_owned()), ("x-gitea-signature", signed)),
            _ => (
                ("x-formwork-signature", format!("sha256={signed}")),
                ("x-hub-signature-256", format!("sha256={signed}")),
            ),
        };
        assert_eq!(site.post("/hooks/site", &[(wrong.0, &wrong.1)], body), 401, "{kind}");
        assert_eq!(site.post("/hooks/site", &[(good.0, &good.1)], body), 202, "{kind}");
        site.until("the push serves", |status| status["content"]["lastAppliedRevision"] == second.as_str());
    }
}

#[test]
fn a_url_with_a_password_and_a_host_without_known_keys_are_refused_at_the_start_and_not_repeated() {
    let say = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_formwork"))
            .args(["serve", "--no-dhcp", "--no-tftp", "--address", "127.0.0.1"])
            .args(words)
            .output()
            .expect("formwork starts");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = say(&["--repository", "https://ada:hunter22@git.example.org/site.git"]);
    assert!(
        said.contains("--token-file FILE") && !said.contains("`credentials`") && !said.contains("hunter22"),
        "{said}"
    );
    let said = say(&["--repository", "git@git.example.org:site.git"]);
    assert!(said.contains("--known-hosts") && said.contains("ssh-keyscan git.example.org"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sources.yaml");
    std::fs::write(
        &path,
        "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - name: site\n    url: \
         https://ada:hunter22@git.example.org/site.git\n    branch: main\n  - name: Two\n    url: git@x:y\n    branch: \
         main\n    tag: v1\n",
    )
    .unwrap();
    let said = say(&["--sources", path.to_str().unwrap()]);
    assert!(!said.contains("hunter22"), "{said}");
    for part in [
        "sources.yaml:6:",
        "`credentials` names that file",
        "sources.yaml:8:",
        "`two` would be one",
        "exactly one of branch, tag, semver and commit",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_repository_named_on_the_command_line_is_followed_with_a_token_and_an_authority() {
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", SITE)]);
    let folder = tempfile::tempdir().unwrap();
    let server = HttpsServer::start(repository.folder.path(), Some(&format!("x-access-token:{TOKEN}")));
    let token = closed_file(folder.path(), "site.token", &format!("{TOKEN}\n"));
    let url = server.url("site.git");
    let words = ["--repository", &url, "--branch", "main", "--token-file", token.to_str().unwrap(), "--repository-ca"];
    let site = Site::start(folder.path(), &[&words[..], &[server.authority.to_str().unwrap()]].concat());
    let serves = |status: &serde_json::Value, id: &str| {
        status["content"]["condition"] == "Ready" && status["content"]["lastAppliedRevision"] == id
    };
    site.until("it is followed", |status| serves(status, &first));
    let second = repository.push("second", &[("readme.md", "x")]);
    site.type_in(&["reconcile"]);
    let status = site.until("it is followed on", |status| serves(status, &second));
    assert_eq!(status["changedFiles"], serde_json::json!([]));
    // Another token is read by the next fetch, and until then the status says so.
    server.set_login(Some("x-access-token:another"));
    closed_file(folder.path(), "site.token", "another\n");
    let status = site.until("the token is another", |status| status["changedFiles"][0].is_object());
    let file = &status["changedFiles"][0];
    assert!(
        file["takesEffect"] == "next-fetch" && file["path"].as_str().unwrap().ends_with("site.token"),
        "{status:#}"
    );
    let (said, _) = site.type_in(&["status"]);
    assert!(said.contains("site.token was changed since the last fetch of source site"), "{said}");
    let (said, good) = site.type_in(&["reconcile", "--wait"]);
    assert!(good, "{said}");
    let status = site.until("it was read", |status| status["changedFiles"][0].is_null());
    assert_eq!(status["sources"][0]["failure"], serde_json::Value::Null);
    assert!(!site.log().contains(TOKEN));
}

// A tenant copies what the platform encrypted.
#[test]
fn a_mounted_source_opens_what_is_encrypted_by_its_own_identities_only() {
    const ENCRYPTED: &str = include_str!("../../src/content/sops/fixture/partial.yaml");
    const IDENTITY: &str = include_str!("../../src/content/sops/fixture/identity.txt");
    let password =
        "apiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {name: password}\nspec: {schema: {type: string}}\n";
    let (main, tenant) = (Repository::new(), Repository::new());
    let folder = tempfile::tempdir().unwrap();
    main.push("platform", &[("site.yaml", &format!("{SITE}---\n{password}"))]);
    tenant.push("a", &[("copied.yaml", ENCRYPTED)]);
    let identity = closed_file(folder.path(), "identity.txt", IDENTITY);
    let path = folder.path().join("sources.yaml");
    let write = |more: &str| {
        let sources = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - {{name: platform, url: {}, branch: main}}\n  \
             - {{name: team-a, url: {}, branch: main, mount: tenants/a, allow: {{kinds: [Profile], names: ['*']}}{more}}}\n",
            main.bare().display(),
            tenant.bare().display()
        );
        std::fs::write(&path, sources).unwrap();
    };
    write("");
    let words = ["--sources", path.to_str().unwrap(), "--age-identities", identity.to_str().unwrap()];
    let site = Site::start(folder.path(), &words);
    let status = site.until("the tenant is refused", |status| status["sources"][1]["findings"][0].is_string());
    let findings: Vec<&str> =
        status["sources"][1]["findings"].as_array().unwrap().iter().filter_map(|it| it.as_str()).collect();
    let shut = |finding: &&str| finding.starts_with("tenants/a/copied.yaml:") && finding.contains("`ageIdentities`");
    assert!(findings.iter().any(shut), "{findings:?}");
    assert_eq!(status["changedFiles"], serde_json::json!([]));
    // Given to the tenant as well.
    write(", ageIdentities: identity.txt");
    site.until("the tenant is taken", |status| {
        status["content"]["condition"] == "Ready" && status["sources"][1]["used"].is_string()
    });
}
