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
