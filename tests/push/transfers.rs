//! Clones, fetches and pushes as they come: many, at once, by each version of the protocol.

use super::site::{NODE_1, Person, Site, node};

#[test]
fn what_was_pushed_is_cloned_and_fetched_by_every_version_of_the_protocol() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    for version in ["0", "1", "2"] {
        let folder = format!("clone-{version}");
        let config = format!("protocol.version={version}");
        ada.git(&["-c", &config, "clone", "-q", &site.url(), &folder]).taken();
        let said = ada.git(&["-C", &folder, "rev-parse", "HEAD"]).taken();
        assert_eq!(said.text.trim(), first);
    }
    std::fs::remove_dir_all(ada.folder.path().join("clone-0")).unwrap();
    let second = ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3)), (".gitignore", "clone-*\n")]);
    ada.git(&["rm", "-q", "-r", "--cached", "clone-1", "clone-2"]);
    ada.git(&["commit", "-q", "--amend", "-m", "Add node-3"]).taken();
    let second = if ada.head() == second { second } else { ada.head() };
    ada.push(&["origin", "main"]).taken();
    // Enough of a history that the question is compressed.
    let bob = Person::new(&site, "bob", &site.user("bob", &["--read"]));
    for n in 0..80 {
        bob.commit(&format!("Of my own {n}"), &[]);
    }
    bob.git(&["fetch", "-q", "origin"]).taken();
    assert_eq!(bob.git(&["rev-parse", "origin/main"]).taken().text.trim(), second);
}

#[test]
fn a_hundred_pushes_in_a_row_are_taken_and_the_last_one_serves() {
    let site = Site::hosted();
    let ada = site.person();
    ada.begin();
    let mut last = String::new();
    for n in 0..100 {
        last = ada.commit(
            &format!("Push {n}"),
            &[("machines/node-1.yaml", &NODE_1.replace("spec:", &format!("spec:\n  # {n}")))],
        );
        ada.push(&["-q", "origin", "main"]).taken();
    }
    assert_eq!(site.branch("main").as_deref(), Some(last.as_str()));
    site.until_applied(&last);
    assert_eq!(site.quarantines(), [""; 0]);
}

#[test]
fn of_two_pushes_at_once_one_is_taken_and_the_other_is_told() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    let bob = Person::new(&site, "bob", &site.user("bob", &["--read", "--push", "main"]));
    bob.git(&["pull", "-q", "origin", "main"]).taken();
    let mut winners = vec![first.clone()];
    for round in 0..5 {
        let ours = ada.commit(
            "Hers",
            &[("machines/node-3.yaml", &node(100 + round).replace(&format!("node-{}", 100 + round), "node-3"))],
        );
        let theirs = bob.commit(
            "His",
            &[("machines/node-4.yaml", &node(200 + round).replace(&format!("node-{}", 200 + round), "node-4"))],
        );
        let (hers, his) = std::thread::scope(|scope| {
            let hers = scope.spawn(|| ada.push(&["origin", "main"]));
            let his = scope.spawn(|| bob.push(&["origin", "main"]));
            (hers.join().unwrap(), his.join().unwrap())
        });
        let (winner, lost) = match (hers.good, his.good) {
            (true, false) => (ours, his),
            (false, true) => (theirs, hers),
            both => panic!("{both:?}:\n{}\n{}", hers.text, his.text),
        };
        // Found good and overtaken while git took the other, or asked after that.
        let overtaken =
            ["failed to update ref", "fetch first", "cannot lock ref", "incorrect old value provided", "rewritten"];
        assert!(overtaken.iter().any(|words| lost.text.contains(words)), "{}", lost.text);
        assert!(!lost.text.contains("success: accepted"), "{}", lost.text);
        winners.push(winner.clone());
        assert_eq!(site.branch("main"), Some(winner.clone()));
        site.until_applied(&winner);
        for person in [&ada, &bob] {
            person.git(&["fetch", "-q", "origin"]).taken();
            person.git(&["reset", "-q", "--hard", "origin/main"]).taken();
        }
    }
    assert_ne!(site.branch("main"), Some(first));
    // Who lost is in no history, and each that won is once, before it applies.
    let said = site.type_in(&["history", "-n", "1000", "-o", "json"]);
    let history: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    let rows = |outcome: &str| -> Vec<String> {
        let rows = history["items"].as_array().unwrap().iter().filter(|row| row["outcome"] == outcome);
        rows.map(|row| row["revision"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((rows("pushed"), rows("applied")), (winners.clone(), winners));
}
