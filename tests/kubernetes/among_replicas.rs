//! Replicas of one site among each other: who is there, who leads, and what becomes of their Leases.

use super::cluster::{Cluster, SERVER};
use formwork::replicas::{Replicas, ReplicasError, Standing, join};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const NAMESPACE: &str = "replicas";

struct Joined {
    replicas: Replicas,
    kept: JoinHandle<Result<(), ReplicasError>>,
}

impl Joined {
    /// A replica that joins as user `formwork`.
    async fn new(cluster: &Cluster, name: &str) -> Result<Self, ReplicasError> {
        let file = kube::config::Kubeconfig::from_yaml(&cluster.kubeconfig(SERVER, NAMESPACE)).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        let (replicas, kept) = join(config, NAMESPACE, name, Some(&address(name))).await?;
        Ok(Self { replicas, kept: tokio::spawn(kept) })
    }

    /// Waits until it stands so; how long that took.
    async fn until(&self, what: &str, so: impl Fn(&Standing) -> bool) -> Duration {
        let began = Instant::now();
        let mut watch = self.replicas.watch();
        let found = tokio::time::timeout(super::cluster::PATIENCE, watch.wait_for(|standing| so(standing))).await;
        assert!(found.is_ok_and(|found| found.is_ok()), "not so: {what}: {:?}", self.replicas.standing());
        began.elapsed()
    }
}

fn address(name: &str) -> String {
    format!("https://{name}.example.org:8444")
}

fn leases(cluster: &Cluster) -> Vec<String> {
    let listed = cluster.kubectl(&["-n", NAMESPACE, "get", "leases", "-l", "formwork.dev/replica=true", "-o", "name"]);
    listed.lines().map(|line| line.trim_start_matches("lease.coordination.k8s.io/").to_owned()).collect()
}

fn allow(cluster: &Cluster, verbs: &str) {
    cluster.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: formwork-replicas, namespace: {NAMESPACE}}}\n\
         rules:\n- apiGroups: [coordination.k8s.io]\n  resources: [leases]\n  verbs: [{verbs}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata: {{name: formwork-replicas, namespace: {NAMESPACE}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: formwork-replicas}}\n\
         subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: formwork}}]\n"
    ));
}

#[test]
fn replicas_see_each_other_and_the_oldest_leads() {
    let Some(cluster) = Cluster::started("replicas among each other") else { return };
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        what_is_missing_is_said(&cluster).await;
        three_join_and_the_oldest_is_lost(&cluster).await;
    });
}

/// Beside the other: both wait for clocks most of the time.
#[test]
fn a_replicas_name_is_taken_over_and_its_lease_leaves_with_it() {
    let Some(cluster) = Cluster::started("the Leases of replicas") else { return };
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    allow(&cluster, "list, create, update, delete");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let b = until_allowed(&cluster, "b", |error| error.to_string().contains("cannot")).await.unwrap();
        let c = Joined::new(&cluster, "c").await.unwrap();
        a_name_is_taken_over(&cluster, c).await;
        whoever_leaves_takes_its_lease_along(&cluster, b).await;
    });
}

async fn what_is_missing_is_said(cluster: &Cluster) {
    let refused =
        |joined: Result<Joined, ReplicasError>| joined.err().map(|error| error.to_string()).unwrap_or_default();
    for name in ["", "A", "a.b", "-a"] {
        let said = refused(Joined::new(cluster, name).await);
        assert!(said.starts_with(&format!("`{name}` is no name of a replica")), "{said}");
    }
    let said = refused(Joined::new(cluster, "a").await);
    for word in ["cannot list resource", NAMESPACE, "list, create, update and delete on leases"] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    // A right that is only needed later is missed at once, too.
    allow(cluster, "list, create, delete");
    let said = refused(until_allowed(cluster, "a", |error| error.to_string().contains("cannot list")).await);
    assert!(said.contains("cannot update resource"), "{said}");
    allow(cluster, "list, create, update, delete");
}

/// Joins, once the API server has seen what is allowed by now.
async fn until_allowed(
    cluster: &Cluster,
    name: &str,
    not_yet: impl Fn(&ReplicasError) -> bool,
) -> Result<Joined, ReplicasError> {
    let began = Instant::now();
    loop {
        match Joined::new(cluster, name).await {
            Err(error) if not_yet(&error) && began.elapsed() < super::cluster::PATIENCE => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            joined => return joined,
        }
    }
}

async fn three_join_and_the_oldest_is_lost(cluster: &Cluster) {
    // The Lease that it could not renew is still there: the name is taken over.
    let a = until_allowed(cluster, "a", |error| error.to_string().contains("cannot update")).await.unwrap();
    a.until("who took a name over leads after a while", Standing::leads).await;
    let b = Joined::new(cluster, "b").await.unwrap();
    // Their Leases are told apart by the second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let c = Joined::new(cluster, "c").await.unwrap();
    for one in [&a, &b, &c] {
        one.until("all three are there, and the oldest leads", |standing| {
            standing.live == ["a", "b", "c"] && standing.leader.as_deref() == Some("a")
        })
        .await;
    }
    assert_eq!(leases(cluster), ["formwork-replica-a", "formwork-replica-b", "formwork-replica-c"]);
    // Longer than a Lease counts: renewals keep all there.
    let renewed = || {
        let path = "jsonpath={range .items[*]}{.spec.renewTime}{'\\n'}{end}";
        let told = cluster.kubectl(&["-n", NAMESPACE, "get", "leases", "-l", "formwork.dev/replica=true", "-o", path]);
        let times = told.lines().filter_map(|time| time.parse::<jiff::Timestamp>().ok());
        times.min().unwrap()
    };
    let began = renewed();
    cluster.until("each renewed its Lease for longer than one counts", || {
        (renewed().duration_since(began) > jiff::SignedDuration::from_secs(18)).then_some(())
    });
    let all = |standing: &Standing| standing.live == ["a", "b", "c"] && standing.leader.as_deref() == Some("a");
    c.until("all are there still", all).await;
    let others = ["a", "b"].map(|name| (name.to_owned(), address(name)));
    assert_eq!(c.replicas.others(), others, "each knows where the others are reached");

    let lost = Instant::now();
    a.kept.abort();
    a.until("who keeps no Lease does not lead", |standing| !standing.leads()).await;
    assert!(!b.replicas.leads(), "it stopped before another begins");
    b.until("the next oldest leads", Standing::leads).await;
    println!("another leads {:?} after the leader was lost", lost.elapsed());
    c.until("and the other sees it", |standing| standing.live == ["b", "c"] && standing.leader.as_deref() == Some("b"))
        .await;
}

async fn a_name_is_taken_over(cluster: &Cluster, c: Joined) {
    let later = Joined::new(cluster, "c").await.unwrap();
    let ended = tokio::time::timeout(super::cluster::PATIENCE, c.kept).await.expect("it notices").unwrap();
    let said = ended.expect_err("it is an error").to_string();
    assert!(said.contains("another server took over the name c of this replica in namespace replicas"), "{said}");
    assert!(!c.replicas.standing().live.contains(&"c".to_owned()), "{:?}", c.replicas);
    assert!(later.replicas.standing().live.contains(&"c".to_owned()), "{:?}", later.replicas);
    let lease = cluster.object_in(NAMESPACE, "lease", "formwork-replica-c").unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1, "{lease:#}");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15, "{lease:#}");
    // What others wrote on it stays, and is no reason to end.
    cluster.kubectl(&["-n", NAMESPACE, "annotate", "lease", "formwork-replica-c", "team=ours"]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!later.kept.is_finished());
    let lease = cluster.object_in(NAMESPACE, "lease", "formwork-replica-c").unwrap();
    assert_eq!(lease["metadata"]["annotations"]["team"], "ours", "{lease:#}");
    // One that was deleted by hand is made again.
    cluster.kubectl(&["-n", NAMESPACE, "delete", "lease", "formwork-replica-c"]);
    cluster.until("the Lease is there again", || cluster.object_in(NAMESPACE, "lease", "formwork-replica-c"));
    later.replicas.leave();
    later.kept.await.unwrap().unwrap();
}

async fn whoever_leaves_takes_its_lease_along(cluster: &Cluster, b: Joined) {
    let d = Joined::new(cluster, "d").await.unwrap();
    d.until("the other leads", |standing| standing.leader.as_deref() == Some("b")).await;
    b.replicas.leave();
    b.kept.await.unwrap().unwrap();
    assert!(!b.replicas.standing().leads());
    assert!(!leases(cluster).contains(&"formwork-replica-b".to_owned()));
    let took = d.until("the one that is left leads", Standing::leads).await;
    println!("another leads {took:?} after the leader said goodbye");
}
