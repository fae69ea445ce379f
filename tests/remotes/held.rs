//! The whole server with a platform's repository and a tenant's: what a guard holds of the tenant's, how it is seen and allowed, and
//! whose fault is told to whom.

use crate::repository::Repository;
use crate::several::{SITE, machine, param, profile};
use crate::site::Site;

fn machines(numbers: std::ops::RangeInclusive<u8>) -> String {
    let each: Vec<String> = numbers.map(|n| machine(&format!("a-{n}"), n, "base")).collect();
    each.join("---\n")
}

#[test]
fn what_a_guard_holds_of_a_tenant_is_shown_and_allowed_by_its_commit_and_the_platform_answers_for_its_own() {
    let (main, tenant) = (Repository::new(), Repository::new());
    let folder = tempfile::tempdir().expect("a folder");
    main.push("platform", &[("site.yaml", SITE), ("base.yaml", &format!("{}---\n{}", param(), profile("base", "x")))]);
    tenant.push("a", &[("deep/machines.yaml", &machines(1..=8))]);
    let sources = format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - {{name: platform, url: '{}', branch: main}}\n  \
         - {{name: team-a, url: '{}', branch: main, path: deep, mount: tenants/a, allow: {{kinds: [Machine], machines: ['a-*']}}}}\n",
        main.bare().display(),
        tenant.bare().display()
    );
    let path = folder.path().join("sources.yaml");
    std::fs::write(&path, sources).expect("written");
    let site = Site::start(folder.path(), &["--sources", path.to_str().expect("UTF-8")]);
    let serves = |count: usize| {
        site.until("it serves", |status| {
            status["content"]["condition"] == "Ready" && status["machines"]["expected"] == count
        })
    };
    serves(8);

    let lost = tenant.push("lost", &[("deep/machines.yaml", &machines(5..=8))]);
    let held = site.until("it is held", |status| status["sources"][1]["findings"][0].is_string());
    let finding = held["sources"][1]["findings"][0].as_str().unwrap_or_default();
    assert!(finding.contains(&format!("`formwork reconcile --allow-leave 4 --revision {}`", &lost[..12])), "{finding}");
    // Nothing of the whole waits: what is held is what would come. So it is where it is named.
    for words in [&["diff"][..], &["diff", &lost[..12]]] {
        let (said, code) = site.ended(words);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("a-1") && said.contains("4 leave"), "{words:?}: {said}");
    }
    let (said, code) = site.ended(&["reconcile", "--allow-leave", "4", "--revision", "0123456789ab"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains(&format!("commit {} of source team-a", &lost[..12])), "{said}");
    let (said, code) =
        site.ended(&["reconcile", "--wait", "--allow-leave", "all", "--revision", &lost[..12], "--reason", "sold"]);
    assert_eq!(code, Some(0), "{said}\n{}", site.log());
    serves(4);

    // What a commit of theirs says of their own machines counts for the whole site's guard as well.
    tenant.push("Sold\n\nFormwork-Allow-Leave: 3", &[("deep/machines.yaml", &machines(8..=8))]);
    serves(1);

    // Whoever came later is told, whatever the machines are called.
    main.push("taken", &[("taken.yaml", &machine("a", 8, "base"))]);
    let refused = site.until("it is refused", |status| status["content"]["reason"] == "Refused");
    let finding = refused["content"]["findings"][0].as_str().unwrap_or_default();
    assert!(
        finding.starts_with("taken.yaml:4:")
            && finding.contains("selects machine `a-8` already, at tenants/a/machines.yaml:"),
        "{finding}"
    );
}
