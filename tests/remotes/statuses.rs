//! Commit statuses: what became of a commit is told to its forge.

use crate::forge_stand_in::ForgeStandIn;
use crate::repository::{PATIENCE, Repository, closed_file};
use crate::several::{SITE, machine, param, profile};
use crate::site::Site;
use std::time::{Duration, Instant};

const TOKEN: &str = "token-hunter22-of-the-forge";

/// Waits until the forge was told this of a commit; gives the description.
fn until_told(forge: &ForgeStandIn, commit: &str, state: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let told = forge.told();
        let found = told.iter().find(|told| told.path.ends_with(&format!("/{commit}")) && told.body["state"] == state);
        if let Some(found) = found {
            return found.body["description"].as_str().unwrap_or_default().to_owned();
        }
        assert!(Instant::now() < end, "{state} of {commit} was never told: {told:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn each_forge_is_told_what_became_of_a_commit_also_after_it_was_away() {
    for (kind, failed, path, header) in [
        ("github", "failure", "/repos/team/site/statuses/", format!("Bearer {TOKEN}")),
        ("gitea", "failure", "/api/v1/repos/team/site/statuses/", format!("token {TOKEN}")),
        ("gitlab", "failed", "/api/v4/projects/team%2Fsite/statuses/", TOKEN.to_owned()),
    ] {
        let (repository, forge) = (Repository::new(), ForgeStandIn::start());
        let folder = tempfile::tempdir().unwrap();
        let base = format!("{}---\n{}", param(), profile("base", "x"));
        let first =
            repository.push("first", &[("site.yaml", SITE), ("b.yaml", &base), ("m.yaml", &machine("a-1", 1, "base"))]);
        closed_file(folder.path(), "forge.token", TOKEN);
        std::fs::copy(&forge.authority, folder.path().join("authority.pem")).unwrap();
        let sources = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - name: site\n    url: {}\n    branch: main\n    \
             forge:\n      kind: {kind}\n      url: https://127.0.0.1:{}\n      project: team/site\n      tokenFile: \
             forge.token\n      certificateAuthorityFile: authority.pem\n",
            repository.bare().display(),
            forge.port
        );
        let file = folder.path().join("sources.yaml");
        std::fs::write(&file, sources).unwrap();
        let site = Site::start(folder.path(), &["--sources", file.to_str().unwrap()]);
        assert_eq!(until_told(&forge, &first, "success"), "it serves; the site declares 1 machine");
        let told = &forge.told()[0];
        assert_eq!(told.path, format!("{path}{first}"));
        assert!([&told.authorization, &told.private_token].contains(&&header), "{told:?}");

        // The forge is away: the site goes on, and the word is brought later.
        forge.set_away(true);
        let bad = repository.push("bad", &[("m.yaml", &machine("a-1", 1, "no-such-profile"))]);
        site.until("it is refused", |status| status["content"]["lastAttemptedRevision"] == bad.as_str());
        let good = repository.push("good", &[("m.yaml", &machine("a-2", 2, "base"))]);
        site.until("the next one serves", |status| status["content"]["lastAppliedRevision"] == good.as_str());
        let end = Instant::now() + PATIENCE;
        while forge.refused() < 2 {
            assert!(Instant::now() < end, "it was not tried again");
            std::thread::sleep(Duration::from_millis(100));
        }
        forge.set_away(false);
        let said = until_told(&forge, &good, "success");
        assert!(said.starts_with("it serves: 1 added, 1 removed"), "{said}");
        let bad = repository.push("bad again", &[("m.yaml", &machine("a-1", 1, "no-such-profile"))]);
        let said = until_told(&forge, &bad, failed);
        assert!(said.starts_with("m.yaml:4:") && said.contains("no-such-profile"), "{said}");
        assert!(!site.log().contains(TOKEN));
    }
}

/// A platform's repository and a tenant's, each with a forge, in a `sources.yaml`.
fn two(folder: &std::path::Path, platform: &Repository, team: &Repository, forge: &ForgeStandIn) -> std::path::PathBuf {
    closed_file(folder, "forge.token", TOKEN);
    std::fs::copy(&forge.authority, folder.join("authority.pem")).unwrap();
    let source = |name: &str, repository: &Repository, more: &str| {
        format!(
            "  - name: {name}\n    url: {}\n    branch: main\n{more}    forge:\n      kind: gitlab\n      url: https://127.0.0.1:{}\n      \
             project: o/{name}\n      tokenFile: forge.token\n      certificateAuthorityFile: authority.pem\n",
            repository.bare().display(),
            forge.port
        )
    };
    let mounted = "    mount: tenants/a\n    allow: {kinds: [Machine], names: [\"a-*\"], machines: [\"a-*\"]}\n";
    let text = format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n{}{}",
        source("platform", platform, ""),
        source("team", team, mounted)
    );
    let file = folder.join("sources.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

/// All that the forge was told of a commit: each state with its description.
fn told_of(forge: &ForgeStandIn, commit: &str) -> Vec<(String, String)> {
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let told = forge.told().into_iter().filter(|told| told.path.ends_with(&format!("/{commit}")));
    told.map(|told| (word(&told.body["state"]), word(&told.body["description"]))).collect()
}

#[test]
fn each_commit_is_told_of_its_own_findings_and_of_what_it_brought_itself() {
    let (platform, team, forge) = (Repository::new(), Repository::new(), ForgeStandIn::start());
    let folder = tempfile::tempdir().unwrap();
    let base = |word: &str| format!("{}---\n{}", param(), profile("base", word));
    platform.push("platform", &[("site.yaml", SITE), ("b.yaml", &base("x")), ("m.yaml", &machine("p-1", 1, "base"))]);
    let first =
        team.push("team", &[("a-1.yaml", &machine("a-1", 11, "base")), ("a-2.yaml", &machine("a-2", 12, "base"))]);
    let file = two(folder.path(), &platform, &team, &forge);
    let words = ["--sources", file.to_str().unwrap()];
    let site = Site::start(folder.path(), &words);
    until_told(&forge, &first, "success");

    // What the platform does reaches the team's machines, and is no news of the team's commit.
    let second = platform.push("another word", &[("b.yaml", &base("y"))]);
    let said = until_told(&forge, &second, "success");
    assert!(said.starts_with("it serves: 1 changed, 3 machines"), "{said}");
    let bad = platform.push("bad", &[("m.yaml", &machine("p-1", 1, "no-such-profile"))]);
    until_told(&forge, &bad, "failed");
    let third = platform.push("good", &[("m.yaml", &machine("p-2", 1, "base"))]);
    until_told(&forge, &third, "success");
    assert_eq!(told_of(&forge, &third).iter().filter(|(state, _)| state == "failed").count(), 0);
    let of_first = told_of(&forge, &first);
    assert_eq!(of_first.iter().filter(|(state, _)| state == "success").count(), 1, "{of_first:?}");
    assert_eq!(of_first.last().map(|(state, _)| state.as_str()), Some("success"), "{of_first:?}");

    // After a commit that is refused, the next one never has its finding.
    let net = "apiVersion: formwork.dev/v1alpha1\nkind: Subnet\nmetadata: {name: x}\nspec: {cidr: 10.9.0.0/24}\n";
    for round in 0..3 {
        let bad = team.push("bad", &[("net.yaml", net)]);
        let said = until_told(&forge, &bad, "failed");
        assert!(said.starts_with("tenants/a/net.yaml:2:7"), "{said}");
        team.git(&["rm", "-q", "net.yaml"]);
        let name = format!("a-{}", 3 + round);
        let good = team.push("good", &[(&format!("{name}.yaml"), &machine(&name, 13 + round, "base"))]);
        let said = until_told(&forge, &good, "success");
        assert_eq!(said, "it serves: 1 added, 1 machine is new");
        let told = told_of(&forge, &good);
        assert!(told.iter().all(|(state, _)| state != "failed"), "{told:?}");
    }

    // A server that is started anew says nothing again. What a forge took is written down within two seconds.
    std::thread::sleep(Duration::from_secs(4));
    let before = forge.told().len();
    drop(site);
    let site = Site::start(folder.path(), &words);
    site.until("it serves", |status| status["content"]["condition"] == "Ready");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(forge.told().len(), before, "{:?}", forge.told().split_off(before));
}
