//! From a push to the catalog, with the real `git`; what a revision means is a list of words here.

use super::test_store::MemoryStore;
use super::{Blind, Built, Census, Change, Condition, Hook, Outcome, Parts, Reconciler, SiteName, Status};
use crate::content::{File, FileKind, Stop, Tree};
use crate::git::test_repository::TestRepository;
use crate::git::{Follower, Source};
use crate::journal::{Event, Stream};
use crate::store::{BoxFuture, Store};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a slow build takes.
const SLOW: Duration = Duration::from_millis(700);

/// One word a machine; a word that begins with `!` is a fault.
pub(super) type Words = Vec<String>;

/// `slow` takes a while to build, as a large site does; `endless` all the time that somebody waits for it.
fn build(tree: &Tree, _revision: &str, stop: &Stop) -> Result<Built<Words>, Vec<String>> {
    if tree.files.contains_key("slow") {
        std::thread::sleep(SLOW);
    }
    if tree.files.contains_key("endless") {
        while !stop.is_asked() {
            std::thread::sleep(Duration::from_millis(5));
        }
        return Err(vec!["machines:1:1: error: it was not looked at to its end".to_owned()]);
    }
    let text = tree.files.get("machines").map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
    let words: Words = text.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let faults: Vec<String> =
        words.iter().filter(|word| word.starts_with('!')).map(|word| format!("machines:1:1: error: {word}")).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let census = Census { machines: words.len(), objects: words.len() };
    let called = tree.files.get("name").map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
    let site = SiteName { name: called.unwrap_or_default(), place: "name:1:1".to_owned() };
    Ok(Built { catalog: Arc::new(words), census, site, warnings: Vec::new() })
}

#[derive(Default)]
struct Told(Mutex<Vec<(Option<usize>, usize)>>);

impl Hook<Words> for Told {
    fn applied(&self, change: Change<Words>) -> BoxFuture<'_, ()> {
        let pair = (change.previous.map(|words| words.len()), change.catalog.len());
        self.0.lock().expect("not poisoned").push(pair);
        Box::pin(async {})
    }
}

pub(super) struct Site {
    pub(super) repository: TestRepository,
    pub(super) store: Arc<MemoryStore>,
    told: Arc<Told>,
    /// What is followed is the server's own repository.
    pub(super) hosted: bool,
    /// Other servers are on the same store.
    pub(super) others: bool,
    /// A revision may be built for so long.
    longest: Duration,
    reconciler: Option<Reconciler<Words>>,
}

impl Site {
    pub(super) async fn new() -> Self {
        let mut site = Self {
            repository: TestRepository::new(),
            store: Arc::new(MemoryStore::default()),
            told: Arc::new(Told::default()),
            hosted: false,
            others: false,
            longest: super::LOAD_MOST,
            reconciler: None,
        };
        site.restart().await;
        site
    }

    pub(super) async fn restart(&mut self) {
        self.reconciler = None;
        let source = Source::Bare { path: self.repository.bare(), branch: Some("main".to_owned()), subpath: None };
        let follower = Follower::start(source, &self.repository.beside("mirror.git")).expect("a mirror");
        let parts = Parts {
            follower: Arc::new(follower),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            build: Arc::new(build),
            sealed_build: Arc::new(|tree, revision, stop| {
                build(tree, revision, stop).map(|built| Built { warnings: vec!["sealed".to_owned()], ..built })
            }),
            hook: Arc::clone(&self.told) as Arc<dyn Hook<Words>>,
            foresee: Arc::new(Blind),
            verifier: None,
            hosted: self.hosted,
            others: self.others,
            longest: self.longest,
        };
        self.reconciler = Some(Reconciler::start(parts).await.expect("it starts"));
    }

    pub(super) fn reconciler(&self) -> &Reconciler<Words> {
        self.reconciler.as_ref().expect("it runs")
    }

    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Arc<Status> {
        let mut status = self.reconciler().status();
        let found = tokio::time::timeout(Duration::from_secs(60), status.wait_for(|status| wanted(status))).await;
        match found {
            Ok(Ok(status)) => Arc::clone(&status),
            _ => panic!("{what}: {:?}", self.reconciler().status().borrow()),
        }
    }

    pub(super) async fn attempted(&self, id: &str) -> Arc<Status> {
        self.until(id, |status| status.attempted.as_ref().is_some_and(|attempt| attempt.revision == id)).await
    }

    pub(super) fn serves(&self) -> Option<Words> {
        self.reconciler().catalog().load_full().map(|words| Words::clone(&words))
    }

    pub(super) fn events(&self) -> Vec<(&'static str, String)> {
        let records = self.store.events_of(&Stream::Site, 0, 1000).expect("events");
        let words = records.into_iter().filter_map(|record| match record.event {
            Event::RevisionApplied { revision, .. } => Some(("applied", revision)),
            Event::RevisionRefused { revision, .. } => Some(("refused", revision)),
            _ => None,
        });
        words.collect()
    }
}

#[tokio::test]
async fn a_broken_revision_is_refused_with_its_findings_and_its_fix_is_applied() {
    let site = Site::new().await;
    let good = site.repository.push("good", &[("machines", "a b")]);
    let status = site.attempted(&good).await;
    assert_eq!(status.condition().0, Condition::Ready);
    let broken = site.repository.push("broken", &[("machines", "a !b !c")]);
    let status = site.attempted(&broken).await;
    let attempt = status.attempted.as_ref().expect("an attempt");
    assert_eq!((attempt.outcome.clone(), attempt.count, attempt.findings.len()), (Outcome::Refused, 2, 2));
    assert_eq!(status.applied.as_ref().map(|applied| applied.revision.as_str()), Some(good.as_str()));
    assert_eq!(status.condition().0, Condition::Stalled);
    assert_eq!(site.serves(), Some(vec!["a".to_owned(), "b".to_owned()]));
    let fixed = site.repository.push("fixed", &[("machines", "a b c")]);
    site.attempted(&fixed).await;
    assert_eq!(site.serves().map(|words| words.len()), Some(3));
    assert_eq!(site.events(), [("applied", good.clone()), ("refused", broken), ("applied", fixed)]);
    assert_eq!(*site.told.0.lock().expect("not poisoned"), [(None, 2), (Some(2), 3)]);
    let old = site.reconciler().catalog_at(&good).await.expect("the older catalog");
    assert_eq!(old.len(), 2);
    assert!(site.reconciler().catalog_at(&"0".repeat(40)).await.is_err());
}

#[tokio::test]
async fn a_refused_revision_is_not_tried_again_but_going_back_to_the_good_one_is_told() {
    let site = Site::new().await;
    let good = site.repository.push("good", &[("machines", "a")]);
    site.attempted(&good).await;
    let broken = site.repository.push("broken", &[("machines", "!")]);
    let at = site.attempted(&broken).await.attempted.as_ref().map(|attempt| attempt.at_unix_ms);
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let again = site.reconciler().status().borrow().attempted.as_ref().map(|attempt| attempt.at_unix_ms);
    assert_eq!(at, again);
    site.reconciler().ask();
    let later = |status: &Status| status.attempted.as_ref().is_some_and(|attempt| Some(attempt.at_unix_ms) > at);
    site.until("asked by hand", later).await;
    site.repository.git(&["push", "-q", "-f", "origin", &format!("{good}:main")]);
    let status = site.attempted(&good).await;
    assert_eq!(status.condition().0, Condition::Ready);
    assert_eq!(site.events(), [("applied", good.clone()), ("refused", broken), ("applied", good)]);
    assert_eq!(site.told.0.lock().expect("not poisoned").len(), 1, "the catalog stayed the same");
}

#[tokio::test]
async fn twenty_quick_pushes_settle_on_the_last() {
    let site = Site::new().await;
    let mut last = String::new();
    for n in 0..20 {
        let words = if n % 3 == 0 { "!" } else { "a b" };
        last = site.repository.push(&format!("push {n}"), &[("machines", words), ("n", &n.to_string())]);
    }
    let status = site.attempted(&last).await;
    assert_eq!(status.condition().0, Condition::Ready, "{status:?}");
    assert_eq!(site.events().last(), Some(&("applied", last)));
}

#[tokio::test]
async fn the_last_good_revision_serves_after_a_restart_without_its_repository() {
    let mut site = Site::new().await;
    let good = site.repository.push("good", &[("machines", "a b")]);
    site.attempted(&good).await;
    let broken = site.repository.push("broken", &[("machines", "!")]);
    site.attempted(&broken).await;
    site.restart().await;
    assert_eq!(site.serves().map(|words| words.len()), Some(2), "at once");
    site.attempted(&broken).await;
    std::fs::remove_dir_all(site.repository.bare()).expect("removed");
    site.restart().await;
    assert_eq!(site.serves().map(|words| words.len()), Some(2));
    let status = site.until("unavailable", |status| status.unavailable.is_some()).await;
    assert_eq!(status.condition().0, Condition::Stalled);
    assert!(status.condition().1.contains("no repository"), "{:?}", status.condition());
    assert_eq!(status.applied.as_ref().map(|applied| applied.revision.as_str()), Some(good.as_str()));
}

#[tokio::test]
async fn an_emptied_repository_is_refused_unless_the_commit_says_that_it_is_meant() {
    let site = Site::new().await;
    let good = site.repository.push("good", &[("machines", "a b")]);
    site.attempted(&good).await;
    let emptied = site.repository.push("oops", &[("machines", "")]);
    let status = site.attempted(&emptied).await;
    assert_eq!(status.condition().0, Condition::Stalled);
    assert_eq!(site.serves().map(|words| words.len()), Some(2));
    let meant = site.repository.push("all gone\n\nFormwork-Empty: yes", &[("machines", " ")]);
    site.attempted(&meant).await;
    assert_eq!(site.serves().map(|words| words.len()), Some(0));
}

#[tokio::test]
async fn nothing_serves_that_is_not_in_the_journal_and_a_full_store_only_postpones() {
    let site = Site::new().await;
    let good = site.repository.push("good", &[("machines", "a")]);
    site.attempted(&good).await;
    site.store.full.store(true, Ordering::SeqCst);
    let next = site.repository.push("next", &[("machines", "a b")]);
    let status = site.attempted(&next).await;
    assert!(matches!(status.attempted.as_ref().map(|attempt| &attempt.outcome), Some(Outcome::Postponed { .. })));
    assert_eq!(status.condition().0, Condition::Reconciling);
    assert_eq!(site.serves().map(|words| words.len()), Some(1));
    site.store.full.store(false, Ordering::SeqCst);
    site.until("by itself", |status| status.condition().0 == Condition::Ready).await;
    assert_eq!(site.serves().map(|words| words.len()), Some(2));
}

#[tokio::test]
async fn what_could_not_be_written_down_serves_after_no_restart_and_is_held_back_like_any_other() {
    let mut site = Site::new().await;
    let good = site.repository.push("good", &[("machines", "a")]);
    site.attempted(&good).await;
    site.store.full.store(true, Ordering::SeqCst);
    let next = site.repository.push("next", &[("machines", "a b")]);
    site.attempted(&next).await;
    // The disk is full still: what served goes on.
    site.restart().await;
    assert_eq!(site.serves().map(|words| words.len()), Some(1), "at once");
    // It is tried again after a while; before that, somebody says wait.
    site.attempted(&next).await;
    site.store.full.store(false, Ordering::SeqCst);
    // A restart asks nobody's leave: suspended is suspended.
    site.reconciler().suspend("ann", "a freeze").await.expect("suspended");
    site.restart().await;
    assert_eq!(site.serves().map(|words| words.len()), Some(1), "at once");
    site.until("it is seen", |status| status.attempted.as_ref().is_some_and(|it| it.outcome == Outcome::Waiting)).await;
    assert_eq!(site.serves().map(|words| words.len()), Some(1));
    let applied = site.events().into_iter().filter(|(word, _)| *word == "applied").map(|(_, revision)| revision);
    assert_eq!(applied.collect::<Vec<_>>(), [good]);
    site.reconciler().resume("ann", "", &[]).await.expect("resumed");
    site.until("it serves", |status| status.applied.as_ref().is_some_and(|it| it.revision == next)).await;
}

#[tokio::test]
async fn a_revision_with_a_damaged_object_is_applied_once_the_repository_is_mended() {
    let site = Site::new().await;
    let good = site.repository.push("good", &[("machines", "a")]);
    site.attempted(&good).await;
    let next = site.repository.commit("next", &[("machines", "a b")]);
    let blob = site.repository.git(&["rev-parse", "HEAD:machines"]);
    let (first, rest) = blob.split_at(2);
    site.repository.git(&["push", "-q", "origin", "HEAD:refs/heads/aside"]);
    let object = site.repository.bare().join("objects").join(first).join(rest);
    let whole = std::fs::read(&object).expect("a loose object");
    std::fs::remove_file(&object).expect("removed");
    site.repository.git_bare(&["update-ref", "refs/heads/main", &next]);
    // First it cannot be copied, which is tried again; then the look that follows knows why.
    let status = site.until("it is damaged", |status| status.condition().0 == Condition::Stalled).await;
    assert!(status.condition().1.contains(&blob), "{status:?}");
    assert_eq!(site.serves().map(|words| words.len()), Some(1));
    std::fs::write(&object, whole).expect("mended");
    site.until("mended", |status| status.condition().0 == Condition::Ready).await;
    assert_eq!(site.serves().map(|words| words.len()), Some(2));
}

#[tokio::test]
async fn files_that_are_only_looked_at_are_compiled_without_the_keys_of_secrets() {
    let site = Site::new().await;
    let first = site.repository.push("one", &[("machines", "a b")]);
    site.attempted(&first).await;
    let tree = Arc::new(site.reconciler().follower().tree(&first).await.expect("files"));
    let looked = site.reconciler().check(Arc::clone(&tree), &first).await.expect("it compiles");
    assert_eq!(looked.warnings, ["sealed"]);
    let revision = site.reconciler().follower().revision(&first).await.expect("a revision");
    let judged = site.reconciler().judge(tree, &revision, &super::Allowance::default()).await.expect("it compiles");
    assert!(judged.warnings.is_empty(), "what is to serve is compiled as it will be");
}

#[tokio::test]
async fn another_folder_of_the_same_commit_is_applied_and_the_status_says_what_is_followed() {
    use crate::git::remote::{Follow, Location, SourceSettings, Sources};
    let site = Site::new().await;
    let id = site.repository.push("two folders", &[("one/machines", "a"), ("two/machines", "b c"), ("machines", "r")]);
    site.attempted(&id).await;
    for (folder, machines) in [("one", 1), ("two", 2), ("one", 1)] {
        let place = Location::Local(site.repository.bare());
        let mut settings = SourceSettings::new("site", place, Follow::Branch("main".to_owned()));
        settings.subpath = Some(folder.to_owned());
        site.reconciler().follower().follow(Sources(vec![settings]), false).expect("it follows");
        let token = site.reconciler().ask();
        let status = site
            .until(folder, |status| {
                status.observed_request >= token
                    && status.condition().0 == Condition::Ready
                    && status.applied.as_ref().is_some_and(|applied| applied.machines == machines)
            })
            .await;
        assert!(status.source.ends_with(&format!("folder {folder}")), "{}", status.source);
        assert_eq!(site.serves().map(|words| words.len()), Some(machines));
    }
}

#[tokio::test]
async fn a_revision_that_is_built_for_ever_is_given_up_and_keeps_no_other_waiting() {
    let mut site = Site::new().await;
    site.longest = Duration::from_millis(300);
    site.restart().await;
    let good = site.repository.push("good", &[("machines", "a b")]);
    site.attempted(&good).await;
    let endless = site.repository.push("endless", &[("endless", "")]);
    let loading = |status: &Status| status.loading.as_ref() == Some(&endless) && status.loading_since_unix_ms.is_some();
    site.until("it is loaded", loading).await;
    let status = site.attempted(&endless).await;
    let attempt = status.attempted.as_ref().expect("an attempt");
    assert!(attempt.outcome == Outcome::Refused && attempt.findings[0].contains("is given up"), "{attempt:?}");
    assert_eq!((status.loading_since_unix_ms, site.serves()), (None, Some(vec!["a".to_owned(), "b".to_owned()])));
    site.repository.git(&["rm", "-q", "endless"]);
    let next = site.repository.push("next", &[("machines", "a b c")]);
    assert_eq!(site.attempted(&next).await.condition().0, Condition::Ready);
}

#[tokio::test]
async fn judging_that_nobody_waits_for_any_more_keeps_nobody_waiting() {
    let site = Site::new().await;
    let mut endless = Tree::default();
    let file = File { bytes: Arc::from(b"".as_slice()), kind: FileKind::Regular, blob: None };
    endless.files.insert("endless".to_owned(), file);
    let endless = Arc::new(endless);
    let revision = crate::git::Revision { id: "f".repeat(40), summary: String::new(), message: String::new() };
    let allowed = super::Allowance::default();
    // As many as are built at once, and more.
    for _ in 0..5 {
        let judged = site.reconciler().judge(Arc::clone(&endless), &revision, &allowed);
        assert!(tokio::time::timeout(Duration::from_millis(50), judged).await.is_err(), "it is endless");
    }
    let good = site.repository.push("good", &[("machines", "a b")]);
    assert_eq!(site.attempted(&good).await.condition().0, Condition::Ready);
}
