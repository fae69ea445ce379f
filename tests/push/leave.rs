//! Commits by which many machines leave, and content of another site.

use super::site::{Person, SITE, Site, node};

fn machines(person: &Person<'_>, count: usize) {
    let files: Vec<(String, String)> = (3..=count).map(|n| (format!("machines/node-{n}.yaml"), node(n))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    person.commit("More machines", &files);
}

fn without(person: &Person<'_>, numbers: std::ops::RangeInclusive<usize>, message: &str) -> String {
    for number in numbers {
        std::fs::remove_file(person.folder.path().join(format!("machines/node-{number}.yaml"))).expect("it is there");
    }
    person.commit(message, &[])
}

#[test]
fn a_push_by_which_many_machines_leave_is_refused_until_it_is_meant() {
    let site = Site::hosted();
    let ada = site.person();
    ada.commit("The first machines", SITE);
    machines(&ada, 10);
    ada.push(&["origin", "main"]).taken();
    let full = ada.head();
    site.until_applied(&full);
    let status = site.type_in(&["status"]);
    assert!(
        String::from_utf8_lossy(&status.stdout).contains(&site.url()),
        "{}",
        String::from_utf8_lossy(&status.stdout)
    );
    assert!(site.log().contains(&site.url()), "the start says where to push to");
    // Two of ten are few.
    let eight = without(&ada, 9..=10, "Two are sold");
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&eight);

    let three = without(&ada, 4..=8, "A folder is lost");
    let said = ada.push(&["origin", "main"]).refused(&[
        "5 of 8 machines would leave Git, more than 25 % (spec.leaveGuard",
        "node-4, node-5, node-6, node-7, node-8",
        "-o allow-leave=5",
        "5 leave",
    ]);
    assert!(said.text.contains("machines/node-4.yaml"), "{}", said.text);
    ada.push(&["-o", "allow-leave=4", "origin", "main"]).refused(&["5 of 8 machines would leave"]);
    ada.push(&["-o", "allow-leave=node-44", "origin", "main"])
        .refused(&["there is no machine `node-44`", "allow-leave"]);
    let bob = Person::new(&site, "bob", &site.user("bob", &["--read", "--push", "main"]));
    bob.git(&["fetch", "-q", &ada.folder.path().display().to_string(), "main"]).taken();
    let theirs = "FETCH_HEAD:refs/heads/main";
    bob.push(&["-o", "allow-leave=5", "origin", theirs]).refused(&["you may not say -o allow-leave", "--may leave"]);
    let told = ["a push was refused", "by=\"bob\"", "branch=\"main\"", "you may not say -o allow-leave"];
    super::site::until("it is logged", || site.log().lines().any(|line| told.iter().all(|part| line.contains(part))));
    // Nor by the message of a commit, nor by lifting the bound first.
    bob.git(&["reset", "-q", "--hard", "FETCH_HEAD"]).taken();
    bob.git(&["commit", "-q", "--amend", "-m", "Lost\n\nFormwork-Allow-Leave: all"]).taken();
    bob.push(&["origin", "HEAD:main"]).refused(&[
        "5 of 8 machines would leave",
        "you may not push a commit whose message has the line `Formwork-Allow-Leave: …`",
    ]);
    bob.git(&["reset", "-q", "--hard", &eight]).taken();
    let lifted = format!("{}spec: {{leaveGuard: {{share: 100}}}}\n", SITE[0].1);
    bob.commit("Lift the bound", &[("site.yaml", &lifted)]);
    bob.push(&["origin", "HEAD:main"]).refused(&["site.yaml:4:8: it loosens spec.leaveGuard"]);
    assert_eq!(site.applied(), Some(eight.clone()));

    ada.push(&["-o", "allow-leave=5", "origin", "main"]).taken();
    site.until_applied(&three);
    // Back to the ten, and from there to the three: machines leave by that, too.
    let back = site.type_in(&["rollback", &full, "--reason", "they are needed"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    let again = site.type_in(&["rollback", &eight, "--reason", "x"]);
    assert!(again.status.success(), "two of ten: {}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(site.applied(), Some(eight.clone()));
}

#[test]
fn a_rollback_by_which_many_machines_leave_takes_the_word_too() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    machines(&ada, 10);
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&ada.head());
    let refused = site.type_in(&["rollback", &first, "--reason", "x"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("8 of 10 machines would leave Git"), "{said}");
    assert!(said.contains("--allow-leave 8"), "{said}");
    let back = site.type_in(&["rollback", &first, "--reason", "x", "--allow-leave", "8"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    site.until_applied(&first);
}

#[test]
fn another_sites_repository_is_not_taken_for_this_ones() {
    let mut site = Site::hosted();
    let first = site.person().begin();
    let other = |message: &str| {
        let ada = site.person();
        let plant = SITE[0].1.replace("lab", "plant");
        let mut files = SITE.to_vec();
        files[0].1 = &plant;
        ada.commit(message, &files);
        let refused = [
            "site.yaml:3:18: this is the site `plant`, and the one that is served is `lab`",
            "-o allow-site-rename=plant",
        ];
        ada.push(&["--force", "-o", "allow-rewrite", "origin", "main"]).refused(&refused);
        let word = "allow-site-rename=planta";
        ada.push(&["--force", "-o", "allow-rewrite", "-o", word, "origin", "main"]).refused(&refused);
    };
    other("A plant");
    site.kill();
    assert!(site.serve(), "{}", site.log());
    site.until_applied(&first);
    let ada = site.person();
    ada.git(&["pull", "-q", "origin", "main"]).taken();
    let renamed = ada.commit("Another name", &[("site.yaml", &SITE[0].1.replace("lab", "plant"))]);
    ada.push(&["origin", "main"]).refused(&["this is the site `plant`"]);
    ada.push(&["-o", "allow-site-rename=plant", "origin", "main"]).taken();
    site.until_applied(&renamed);
    let back = ada.commit("The name before", &[("site.yaml", SITE[0].1)]);
    ada.push(&["origin", "main"]).refused(&["this is the site `lab`, and the one that is served is `plant`"]);
    drop(back);
}
