//! Several sources in one site: a platform team's repository, and each tenant's.

use crate::repository::{Following, PATIENCE, Repository, source, until};
use formwork::content::Kind;
use formwork::git::remote::{Allow, SourceEvent, SourceSettings};
use formwork::git::{Ears, MayLeave, Sight};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const SITE: &str = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: shared}\nspec: {}\n";

pub fn profile(name: &str, value: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Profile\nmetadata: {{name: {name}}}\nspec: {{params: {{word: {value}}}}}\n"
    )
}

pub fn param() -> String {
    "apiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {name: word}\nspec: {schema: {type: string}}\n"
        .to_owned()
}

pub fn machine(name: &str, last: u8, profile: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: {name}}}\nspec: {{match: {{macs: \
         ['52:54:00:00:02:{last:02x}']}}, profiles: [{profile}]}}\n"
    )
}

pub fn tenant(name: &str, repository: &Repository) -> SourceSettings {
    let mut settings = source(&format!("team-{name}"), &repository.bare().display().to_string());
    settings.mount = Some(format!("tenants/{name}"));
    settings.allow = Allow {
        kinds: vec![Kind::Machine, Kind::Profile],
        names: vec![format!("{name}-*")],
        machines: vec![format!("{name}-*")],
    };
    settings
}

/// Judged as the server judges.
fn ears() -> Ears {
    let packs = formwork::catalog::builtin_packs();
    let judge = move |tree: &formwork::content::Tree, revision: &str| match formwork::catalog::from_tree(
        tree, &packs, revision,
    ) {
        Ok(_) => Ok(()),
        Err(findings) => Err(findings.0.iter().map(ToString::to_string).collect()),
    };
    Ears { judge: Some(Arc::new(judge)), ..Ears::default() }
}

struct Shared {
    main: Repository,
    a: Repository,
    b: Repository,
}

impl Shared {
    fn new() -> Self {
        let shared = Self { main: Repository::new(), a: Repository::new(), b: Repository::new() };
        shared.main.push(
            "platform",
            &[("site.yaml", SITE), ("base.yaml", &format!("{}---\n{}", param(), profile("base", "x")))],
        );
        shared.a.push("a", &[("machines.yaml", &machine("a-1", 1, "base"))]);
        shared.b.push("b", &[("deep/machines.yaml", &machine("b-1", 2, "base"))]);
        shared
    }

    fn follow(&self, state: &Path) -> Following {
        let main = source("platform", &self.main.bare().display().to_string());
        let mut b = tenant("b", &self.b);
        b.subpath = Some("deep".to_owned());
        Following::start_judged(vec![main, tenant("a", &self.a), b], state, ears())
    }
}

/// Waits for a revision in which a file has this text, and gives its id.
async fn until_text(following: &Following, path: &str, wanted: Option<&str>) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let sight = following.follower.sight().borrow().clone();
        if let Sight::Head(revision) = sight {
            let tree = following.follower.tree(&revision.id).await.expect("a tree");
            let found = tree.files.get(path).map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
            if found.as_deref() == wanted {
                return revision.id;
            }
        }
        assert!(Instant::now() < end, "{path} never was {wanted:?}: {:?}", following.follower.sources());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn sources_stand_together_under_their_folders_and_the_same_parts_give_the_same_revision() {
    let shared = Shared::new();
    let folder = tempfile::tempdir().unwrap();
    let following = shared.follow(&folder.path().join("one"));
    let b = machine("b-1", 2, "base");
    until_text(&following, "tenants/b/machines.yaml", Some(&b)).await;
    let id = until_text(&following, "tenants/a/machines.yaml", Some(&machine("a-1", 1, "base"))).await;
    let tree = following.follower.tree(&id).await.unwrap();
    let paths: Vec<&str> = tree.files.keys().map(String::as_str).collect();
    assert_eq!(paths, ["base.yaml", "site.yaml", "tenants/a/machines.yaml", "tenants/b/machines.yaml"]);
    let revision = following.follower.revision(&id).await.unwrap();
    assert!(revision.summary.starts_with("platform (with team-a "), "{}", revision.summary);
    following.follower.pin("node-1-1", &id).await.unwrap();
    // Another server, or this one without its state, comes to the same.
    let other = shared.follow(&folder.path().join("two"));
    until_text(&other, "tenants/a/machines.yaml", Some(&machine("a-1", 1, "base"))).await;
    assert_eq!(until_text(&other, "tenants/b/machines.yaml", Some(&b)).await, id);
    // A pinned one is read as ever, after the next.
    let next = machine("a-2", 3, "base");
    shared.a.push("more", &[("machines.yaml", &next)]);
    let second = until_text(&following, "tenants/a/machines.yaml", Some(&next)).await;
    assert_ne!(second, id);
    assert_eq!(following.text(&id, "tenants/a/machines.yaml").await, machine("a-1", 1, "base"));
}

#[tokio::test]
async fn what_a_tenant_may_not_is_refused_with_the_rule_and_holds_back_nobody_else() {
    let shared = Shared::new();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let following = shared.follow(&state);
    let good = machine("a-1", 1, "base");
    until_text(&following, "tenants/a/machines.yaml", Some(&good)).await;

    // Another's machine, and a kind that is not its own.
    let stolen = format!("{good}---\n{}", machine("b-9", 9, "base"));
    let subnet =
        "apiVersion: formwork.dev/v1alpha1\nkind: Subnet\nmetadata: {name: a-net}\nspec: {cidr: 10.0.0.0/24}\n";
    let bad = shared.a.push("not mine", &[("machines.yaml", &stolen), ("net.yaml", subnet)]);
    until("team-a is refused", || following.status("team-a").findings.len() == 2).await;
    let findings = following.status("team-a").findings;
    assert_eq!(
        findings[0],
        "tenants/a/machines.yaml:8:18: error: source `team-a` may not declare the machine `b-9`\n  hint: the rule is \
         allow.machines (a-*) of source `team-a` in the server's sources.yaml"
    );
    assert!(
        findings[1].starts_with("tenants/a/net.yaml:2:7: error: source `team-a` may not declare a Subnet"),
        "{findings:?}"
    );

    // The others go on, with what was good of this one.
    let next = machine("b-2", 4, "base");
    shared.b.push("more", &[("deep/machines.yaml", &next)]);
    let id = until_text(&following, "tenants/b/machines.yaml", Some(&next)).await;
    assert_eq!(following.text(&id, "tenants/a/machines.yaml").await, good);
    let status = following.status("team-a");
    assert_eq!(status.head.as_deref(), Some(bad.as_str()));
    assert!(status.used.is_some_and(|used| used != bad));
    let told = following.news();
    assert!(
        matches!(&told[..], [SourceEvent::Refused { source, revision, summary, findings }]
            if source == "team-a" && *revision == bad && summary == "not mine" && findings.len() == 2),
        "{told:?}"
    );

    // What only compiling shows is this source's too.
    shared.a.push("mended, and broken", &[("machines.yaml", &machine("a-1", 1, "no-such-profile")), ("net.yaml", "")]);
    until("team-a is refused by the compiler", || {
        following.status("team-a").findings.iter().any(|finding| finding.contains("no-such-profile"))
    })
    .await;
    assert_eq!(following.status("team-b").findings, Vec::<String>::new());

    // After a restart its last good commit is still the one in use.
    drop(following);
    let following = shared.follow(&state);
    until_text(&following, "tenants/b/machines.yaml", Some(&next)).await;
    let id = until_text(&following, "tenants/a/machines.yaml", Some(&good)).await;
    assert_eq!(following.text(&id, "tenants/b/machines.yaml").await, next);

    let mended = machine("a-3", 5, "base");
    shared.a.push("mended", &[("machines.yaml", &mended)]);
    until_text(&following, "tenants/a/machines.yaml", Some(&mended)).await;
    assert_eq!(following.status("team-a").findings, Vec::<String>::new());
}

#[tokio::test]
async fn a_broken_platform_blames_no_tenant_and_a_repository_that_is_away_stops_nobody() {
    let shared = Shared::new();
    let folder = tempfile::tempdir().unwrap();
    let following = shared.follow(&folder.path().join("state"));
    until_text(&following, "tenants/a/machines.yaml", Some(&machine("a-1", 1, "base"))).await;
    // The platform drops a profile that both use, while a tenant pushes something good.
    shared.main.push("no base", &[("base.yaml", &profile("other", "x"))]);
    let next = machine("a-7", 7, "base");
    shared.a.push("more", &[("machines.yaml", &next)]);
    // Each is looked at by itself: either may be seen first.
    until_text(&following, "base.yaml", Some(&profile("other", "x"))).await;
    let broken = until_text(&following, "tenants/a/machines.yaml", Some(&next)).await;
    assert_eq!(following.text(&broken, "base.yaml").await, profile("other", "x"), "it is seen, and refused as a whole");
    for name in ["team-a", "team-b"] {
        assert_eq!(following.status(name).findings, Vec::<String>::new(), "{name}");
    }
    shared.main.push("base again", &[("base.yaml", &format!("{}---\n{}", param(), profile("base", "y")))]);
    until_text(&following, "base.yaml", Some(&format!("{}---\n{}", param(), profile("base", "y")))).await;

    std::fs::rename(shared.b.bare(), shared.b.folder.path().join("away")).unwrap();
    until("team-b is away", || following.status("team-b").failure.is_some()).await;
    let last = machine("a-8", 8, "base");
    shared.a.push("on", &[("machines.yaml", &last)]);
    let id = until_text(&following, "tenants/a/machines.yaml", Some(&last)).await;
    assert_eq!(following.text(&id, "tenants/b/machines.yaml").await, machine("b-1", 2, "base"));
}

#[tokio::test]
async fn a_tenant_that_loses_most_of_its_machines_is_refused_by_itself_until_its_commit_says_that_it_is_meant() {
    let shared = Shared::new();
    let folder = tempfile::tempdir().unwrap();
    let following = shared.follow(&folder.path().join("state"));
    let machines = |numbers: std::ops::RangeInclusive<u8>| {
        let each: Vec<String> = numbers.map(|n| machine(&format!("a-{n}"), 0x10 + n, "base")).collect();
        each.join("---\n")
    };
    shared.a.push("many", &[("machines.yaml", &machines(1..=5))]);
    until_text(&following, "tenants/a/machines.yaml", Some(&machines(1..=5))).await;
    let lost = shared.a.push("lost", &[("machines.yaml", &machines(5..=5))]);
    until("team-a is refused", || following.status("team-a").findings.len() == 1).await;
    let findings = following.status("team-a").findings;
    assert!(findings[0].contains("4 of the 5 machines of source `team-a` would leave Git"), "{findings:?}");
    assert_eq!(following.status("team-a").head.as_deref(), Some(lost.as_str()));
    // The others go on, with what was good of this one.
    let next = machine("b-2", 4, "base");
    shared.b.push("more", &[("deep/machines.yaml", &next)]);
    let id = until_text(&following, "tenants/b/machines.yaml", Some(&next)).await;
    assert_eq!(following.text(&id, "tenants/a/machines.yaml").await, machines(1..=5));
    shared.a.push("Rack 7 is sold\n\nFormwork-Allow-Leave: 4", &[("machines.yaml", &machines(5..=5)), ("readme", "x")]);
    until_text(&following, "tenants/a/machines.yaml", Some(&machines(5..=5))).await;
    until("nothing is refused", || following.status("team-a").findings.is_empty()).await;
}

#[tokio::test]
async fn what_a_tenants_commit_is_held_for_is_let_through_by_a_persons_word_about_that_commit() {
    let shared = Shared::new();
    let folder = tempfile::tempdir().unwrap();
    let may: Arc<Mutex<Vec<(String, usize)>>> = Arc::default();
    let said = Arc::clone(&may);
    let allowed = move |commit: &str| {
        let said = said.lock().expect("a lock");
        let most = said.iter().filter(|(of, _)| of == commit).map(|(_, most)| *most).max().unwrap_or_default();
        MayLeave { most, ..MayLeave::default() }
    };
    let sources = vec![source("platform", &shared.main.bare().display().to_string()), tenant("a", &shared.a)];
    let ears = Ears { allowed: Some(Arc::new(allowed)), ..ears() };
    let following = Following::start_judged(sources, &folder.path().join("state"), ears);
    let machines = |numbers: std::ops::RangeInclusive<u8>| {
        let each: Vec<String> = numbers.map(|n| machine(&format!("a-{n}"), 0x10 + n, "base")).collect();
        each.join("---\n")
    };
    let many = shared.a.push("many", &[("machines.yaml", &machines(1..=5))]);
    until_text(&following, "tenants/a/machines.yaml", Some(&machines(1..=5))).await;
    let lost = shared.a.push("lost", &[("machines.yaml", &machines(5..=5))]);
    until("team-a is held", || following.status("team-a").guarded.as_ref() == Some(&lost)).await;
    // What is said of another commit, or of fewer, changes nothing.
    may.lock().unwrap().extend([(many, 5), (lost.clone(), 3)]);
    following.follower.look_for(1).await.unwrap();
    let mut answered = following.follower.answered();
    answered.wait_for(|answered| *answered >= 1).await.unwrap();
    assert_eq!(following.status("team-a").guarded.as_ref(), Some(&lost));
    may.lock().unwrap().push((lost, 4));
    following.follower.look_for(2).await.unwrap();
    until_text(&following, "tenants/a/machines.yaml", Some(&machines(5..=5))).await;
    until("nothing is held", || following.status("team-a").guarded.is_none()).await;
}
