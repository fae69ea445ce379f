//! Several sources of one site, each signed for by its own people.

use super::repository::{By, Repository};
use super::site::{FORMWORK, Site};
use serde_json::Value;
use std::process::Command;

const SITE: &str = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: shared}\nspec: {}\n";
const PARAM: &str =
    "apiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {name: word}\nspec: {schema: {type: string}}\n";

fn profile(name: &str, word: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Profile\nmetadata: {{name: {name}}}\nspec: {{params: {{word: {word}}}}}\n"
    )
}

/// A platform team whose Alice signs by SSH, and a tenant whose Bob signs by OpenPGP.
struct Bed {
    platform: Repository,
    tenant: Repository,
}

impl Bed {
    fn new() -> Self {
        let bed = Self { platform: Repository::new(), tenant: Repository::new() };
        let alice = bed.platform.ssh_key("alice");
        bed.platform.write("platform.signers", &format!("alice@example.org {alice}"));
        bed.platform.write("platform.trust.yaml", "allowedSigners: platform.signers\n");
        bed.tenant.openpgp_key("bob@example.org");
        bed.tenant.export("bob@example.org", "bob.asc");
        std::fs::copy(bed.tenant.root().join("bob.asc"), bed.platform.root().join("bob.asc")).unwrap();
        bed.platform.write("tenant.trust.yaml", "openpgp: [{principal: bob@example.org, file: bob.asc}]\n");
        bed.sources(["platform.trust.yaml", "tenant.trust.yaml"]);
        bed
    }

    /// Says in sources.yaml by which policies they are signed; an empty one: by none.
    fn sources(&self, policies: [&str; 2]) {
        let trust = policies.map(|policy| if policy.is_empty() { String::new() } else { format!(", trust: {policy}") });
        let text = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - {{name: platform, url: {}, branch: \
             main{}}}\n  - {{name: team-a, url: {}, branch: main, mount: tenants/a, allow: {{kinds: [Profile], names: \
             ['a-*']}}{}}}\n",
            self.platform.bare().display(),
            trust[0],
            self.tenant.bare().display(),
            trust[1],
        );
        self.platform.write("sources.yaml", &text);
    }

    fn serve(&self) -> Site {
        let sources = self.platform.root().join("sources.yaml");
        Site::serve(&self.platform, &["--sources", sources.to_str().unwrap()])
    }

    fn platform(&self, by: By<'_>, word: &str) -> String {
        let base = format!("{PARAM}---\n{}", profile("base", word));
        let id = self.platform.commit(by, word, &[("site.yaml", SITE), ("base.yaml", &base)]);
        self.platform.push();
        id
    }

    fn tenant(&self, by: By<'_>, word: &str) -> String {
        let id = self.tenant.commit(by, word, &[("words.yaml", &profile("a-words", word))]);
        self.tenant.push();
        id
    }
}

const ALICE: By<'_> = By::Ssh("alice");
const BOB: By<'_> = By::OpenPgp("bob@example.org");

/// What comes of the newest commits: what the request ends with, and how the sources stand.
fn after(site: &Site) -> (Option<i32>, String, Value) {
    let output = site.type_in(&["reconcile", "--wait", "--timeout", "90s"]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let status = site.type_in(&["status", "-o", "json"]).stdout;
    let status: Value = serde_json::from_slice(&status).expect("JSON");
    (output.status.code(), said, status["sources"].clone())
}

#[track_caller]
fn used(site: &Site, platform: &str, tenant: &str) -> Value {
    let (code, said, sources) = after(site);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((sources[0]["used"].as_str(), sources[1]["used"].as_str()), (Some(platform), Some(tenant)));
    sources
}

/// One is refused, by its name and for this; both serve what they did.
#[track_caller]
fn refused(site: &Site, name: &str, parts: &[&str], serve: [&str; 2]) {
    let (code, said, sources) = after(site);
    assert_eq!(code, Some(1), "{said}");
    for part in parts.iter().chain(&[&format!("source {name}: commit ")[..]]) {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert_eq!([&sources[0]["used"], &sources[1]["used"]], serve, "{sources:#}");
    let findings = sources.as_array().unwrap().iter().filter(|source| source["findings"][0].is_string());
    assert_eq!(findings.map(|source| &source["name"]).collect::<Vec<_>>(), [name]);
}

#[test]
fn each_source_is_signed_for_by_its_own_people_and_refused_by_its_name() {
    let bed = Bed::new();
    let (main, team) = (bed.platform(ALICE, "one"), bed.tenant(BOB, "one"));
    let site = bed.serve();
    let sources = used(&site, &main, &team);
    let signed = |index: usize| sources[index]["signedBy"][0].as_str().unwrap_or_default().to_owned();
    assert!(signed(0).starts_with("alice@example.org (SHA256:"), "{sources:#}");
    assert!(signed(1).starts_with("bob@example.org ("), "{sources:#}");
    let events = site.say(&["events", "-o", "table"]);
    assert!(events.contains("of source team-a is trusted, signed by bob@example.org"), "{events}");

    // Nobody, and somebody who may sign elsewhere; before any of its content is read.
    bed.tenant(By::Nobody, "unsigned");
    refused(&site, "team-a", &["words.yaml:1:1: error: commit ", "“unsigned”", "is not signed"], [&main, &team]);
    std::fs::copy(bed.platform.root().join("alice"), bed.tenant.root().join("alice")).unwrap();
    bed.tenant.git(&["reset", "-q", "--hard", &team]);
    bed.tenant.commit(ALICE, "not hers", &[("words.yaml", "not: content\n")]);
    bed.tenant.push();
    refused(&site, "team-a", &["“not hers”", "its signature (SHA256:"], [&main, &team]);
    // It holds back nobody else.
    let main = bed.platform(ALICE, "two");
    refused(&site, "team-a", &["“not hers”"], [&main, &team]);
    bed.tenant.git(&["reset", "-q", "--hard", &team]);
    let team = bed.tenant(BOB, "two");
    used(&site, &main, &team);

    // Nor does the platform: what is trusted of it goes on, below what is new of the tenant.
    bed.platform(By::Nobody, "quick");
    refused(&site, "platform", &["base.yaml:1:1: error: commit ", "“quick”"], [&main, &team]);
    let team = bed.tenant(BOB, "three");
    refused(&site, "platform", &["“quick”"], [&main, &team]);
    // Also after a restart.
    drop(site);
    let site = bed.serve();
    refused(&site, "platform", &["“quick”"], [&main, &team]);
    bed.platform.git(&["reset", "-q", "--hard", &main]);
    let main = bed.platform(ALICE, "three");
    used(&site, &main, &team);

    // Going back to what was signed earlier is no way around, also where nothing but the journal knows what came after.
    bed.tenant.git(&["reset", "-q", "--hard", "HEAD~1"]);
    bed.tenant.push();
    refused(&site, "team-a", &["the branch was rewritten"], [&main, &team]);
    drop(site);
    std::fs::remove_dir_all(bed.platform.root().join("state/mirror.git")).unwrap();
    let site = bed.serve();
    let (code, said, sources) = after(&site);
    assert!(code == Some(1) && said.contains("the branch was rewritten"), "{said}");
    assert_eq!(sources[1]["used"], Value::Null);
    bed.tenant.git(&["reset", "-q", "--hard", &team]);
    let team = bed.tenant(BOB, "four");
    used(&site, &main, &team);
}

#[test]
fn a_policy_that_is_new_is_asked_also_of_what_is_used_and_of_several_there_is_no_common_one() {
    let bed = Bed::new();
    bed.sources(["", ""]);
    let (main, team) = (bed.platform(By::Nobody, "one"), bed.tenant(By::Nobody, "one"));
    let site = bed.serve();
    let sources = used(&site, &main, &team);
    assert_eq!(sources[0]["signedBy"], serde_json::json!([]));
    drop(site);
    // Of one of them only: the other stays as it is.
    bed.sources(["", "tenant.trust.yaml"]);
    let site = bed.serve();
    refused(&site, "team-a", &["“one”", "is not signed"], [&main, &team]);
    let main = bed.platform(By::Nobody, "two");
    refused(&site, "team-a", &["“one”"], [&main, &team]);
    drop(site);
    // A main source of which nothing was ever signed: what served goes on, and the site says why nothing else does.
    bed.sources(["platform.trust.yaml", "tenant.trust.yaml"]);
    let site = bed.serve();
    let (code, said, sources) = after(&site);
    assert!(code == Some(1) && said.contains("source `platform`: no commit of it is trusted"), "{said}");
    assert!(sources[0]["findings"][0].as_str().is_some_and(|finding| finding.contains("“two”")), "{sources:#}");
    let status: Value = serde_json::from_slice(&site.type_in(&["status", "-o", "json"]).stdout).expect("JSON");
    assert!(status["content"]["lastAppliedRevision"].is_string(), "what served goes on: {status:#}");
    // What is said of the source is what is so: the commit of it that was applied before is still used.
    let (row, short) = (&status["sources"][0], main.get(..12).unwrap());
    assert_eq!((&row["used"], row["applied"].as_str()), (&Value::Null, Some(main.as_str())), "{row:#}");
    let message = row["message"].as_str().unwrap();
    assert!(!message.contains("nothing of it") && message.contains(short), "{message}");
    let said = String::from_utf8_lossy(&site.type_in(&["status", "-o", "table"]).stdout).into_owned();
    assert!(said.contains("platform: Stalled") && said.contains(message) && !said.contains("nothing of it"), "{said}");
    let main = bed.platform(ALICE, "three");
    let team = bed.tenant(BOB, "three");
    used(&site, &main, &team);
    drop(site);

    let [sources, policy] = ["sources.yaml", "platform.trust.yaml"].map(|name| bed.platform.root().join(name));
    let output = Command::new(FORMWORK)
        .args(["serve", "--no-dhcp", "--no-tftp", "--address", "127.0.0.1", "--sources"])
        .arg(sources)
        .arg("--trust")
        .arg(policy)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("`trust: FILE` of each source"), "{said}");
}
