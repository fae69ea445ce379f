//! The log of a job that only one of two servers has, while that server is away, when it is back, and when it never comes back.

use super::site::{REPLICAS, Site, check};
use super::*;

const NAMESPACE: &str = "elsewhere";
const MACHINES: usize = 8;

/// A job of which server two has the log, and server one nothing.
fn only_at_two(site: &Site) -> Option<(String, Vec<u8>)> {
    let [one, two] = REPLICAS.map(|(name, _)| check::logs(&site.path(name).join("logs")));
    let machines = site.ask_json("one", &["get", "machines"]);
    let names = machines["items"].as_array()?.iter().filter_map(|machine| machine["name"].as_str());
    let known: String = names.map(|name| site.ask("one", &["describe", "machine", name, "-o", "json"])).collect();
    let is_only_there = |(job, log): &(String, Vec<u8>)| {
        !log.is_empty() && one.get(job).is_none_or(Vec::is_empty) && known.contains(job)
    };
    two.into_iter().find(is_only_there)
}

#[test]
fn a_log_at_a_server_that_is_away_is_waited_for_and_one_at_a_server_that_is_gone_is_said_to_be() {
    let Some(cluster) = common("a log at a server that is away") else { return };
    let mut site = Site::new(&cluster, NAMESPACE, MACHINES);
    site.create();
    site.start(0);
    site.start(1);
    site.until("a revision serves", || site.ask("one", &["status"]).contains("first"));
    assert!(site.simulate().wait().unwrap().success(), "not every run was done\n{}", site.said());
    let (job, log) = only_at_two(&site).expect("a job whose log two has alone");
    let log = String::from_utf8(log).unwrap();
    let shows = |site: &Site| site.ask("one", &["logs", &job]);
    site.until("two is asked for it", || shows(&site) == log);

    // Away: whoever asks is to ask again.
    site.kill(1);
    let said = shows(&site);
    let away = format!("the log of job {job} is at replica two, which does not answer");
    assert!(said.contains(&away) && said.contains("formwork.dev/gone=WHY"), "{said}");
    // Back: it is read.
    site.start(1);
    site.until("two has it still", || shows(&site) == log);

    // Gone, by the word of a person. That word is no sign of life: from when it counts nobody takes the server for one that is there.
    site.kill(1);
    site.until("one knows that two is lost", || site.ask("one", &["status"]).contains("first") && !both_live(&site));
    let lease = |words: &[&str]| {
        cluster.kubectl(&[&["-n", NAMESPACE, words[0], "lease", "formwork-replica-two"], &words[1..]].concat());
    };
    assert!(shows(&site).contains(&away));
    let (stood, _) = site.stands("one");
    lease(&["annotate", "formwork.dev/gone=its disk is dead"]);
    let gone = format!("the log of job {job} is gone with replica two, which is not there since ");
    site.until("the word counts", || {
        let said = shows(&site);
        said.contains(&gone) && said.contains("and is said to be gone for good: its disk is dead")
    });
    assert_eq!(site.stands("one"), (stood, false), "{}", site.said());
    // It comes back after all, and the word is worth nothing any more.
    site.start(1);
    site.until("two has it after all", || shows(&site) == log);
    let object = cluster.object_in(NAMESPACE, "lease", "formwork-replica-two").unwrap();
    assert!(object["metadata"]["annotations"]["formwork.dev/gone"].is_null(), "{object:#}");

    // Gone, since nobody saw it for a day.
    site.kill(1);
    lease(&["patch", "--type=merge", "-p", r#"{"spec":{"renewTime":"2026-01-02T03:04:05.000000Z"}}"#]);
    site.until("a day has passed", || {
        shows(&site).contains(&format!("{gone}2026-01-02T03:04:05Z, more than 24 hours"))
    });
    site.stop(0);
}

/// Whether server one said last that both are there.
fn both_live(site: &Site) -> bool {
    site.stands("one").1
}
