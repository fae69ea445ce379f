//! Two servers whose API server stands still, and is killed, in the middle of boots: nobody is given anything from memory, both say what is
//! wrong, and all runs come to their end when it is back.

use super::site::check::violations;
use super::site::{LIMIT, Site};
use super::*;
use formwork::simulate::record::{Entry, Fact};

const MACHINES: usize = 60;
/// What was on its way when the API server stopped has come to its end.
const ON_ITS_WAY: Duration = Duration::from_secs(3);
/// So long nothing may be given after that. Longer than what a commit waits.
const STILL: Duration = Duration::from_secs(20);

/// What a machine has by a word of a server that has to be written down first.
fn given(entries: &[Entry]) -> usize {
    let given = |entry: &&Entry| {
        matches!(
            entry.fact,
            Fact::Boots { .. } | Fact::Works { .. } | Fact::Leads { .. } | Fact::Concludes { .. } | Fact::Passes { .. }
        )
    };
    entries.iter().filter(given).count()
}

/// Nothing is given while the API server is away, and both servers say so and go on.
fn nothing_is_given(site: &mut Site) {
    std::thread::sleep(ON_ITS_WAY);
    let before = given(&site.entries());
    let since = Instant::now();
    for whom in ["one", "two"] {
        site.until("both say that the store cannot be reached", || {
            site.ask(whom, &["status"]).contains("the store cannot be reached")
        });
    }
    std::thread::sleep(STILL.saturating_sub(since.elapsed()));
    assert_eq!(given(&site.entries()), before, "something was given from memory\n{}", site.said());
    for server in site.servers.iter_mut().flatten() {
        assert!(server.try_wait().unwrap().is_none(), "a server ended");
    }
}

#[test]
fn nothing_is_given_from_memory_while_the_api_server_is_away_and_all_runs_end_after_it() {
    let Some(mut cluster) = Cluster::started("two servers without an API server") else { return };
    let mut site = Site::new(&cluster, "paused", MACHINES);
    site.create();
    site.start(0);
    site.start(1);
    site.until("a revision serves", || site.ask("one", &["status"]).contains("first"));
    let mut machines = site.simulate();
    let began = Instant::now();
    let mut wait = |site: &Site, what: &str, more: usize| {
        while given(&site.entries()) < more {
            assert!(machines.try_wait().unwrap().is_none(), "the machines ended before {what}\n{}", site.said());
            assert!(began.elapsed() < LIMIT, "{what} takes too long\n{}", site.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait(&site, "boots", MACHINES / 3);
    cluster.signal_api_server("STOP");
    nothing_is_given(&mut site);
    cluster.signal_api_server("CONT");
    let so_far = given(&site.entries());
    wait(&site, "machines that go on", so_far + MACHINES / 2);
    for whom in ["one", "two"] {
        let says = || site.ask(whom, &["status"]);
        site.until("the store answers again", || !says().contains("the store cannot be reached"));
    }
    cluster.kill_api_server();
    nothing_is_given(&mut site);
    cluster.start_api_server();
    let status = machines.wait().unwrap();
    assert!(status.success(), "not every run was done\n{}", site.said());
    let took = began.elapsed();
    site.stop(0);
    site.stop(1);

    let namespaces = Namespaces::of(&cluster);
    let evidence = site.evidence(MACHINES, &*namespaces.open("paused"), site.logs());
    let wrong = violations(&evidence);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{MACHINES} runs done in {took:?}, the API server paused once and killed once");
}
