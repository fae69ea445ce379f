//! Every token on every route that it must not open, from the route table: a route that is added is tried too.

use super::{Answer, Site, table};
use crate::boot::desk::{InstallerRefusal, InstallerSaid};
use crate::identity::{AdministratorToken, Audience, SiteKeys, issue, ticket_secret};
use crate::net::routes::{Opens, Route};
use base64::Engine as _;
use ring::signature::KeyPair as _;

/// Who a token is good for, if for anybody.
type Good = Option<Opens>;

/// A path of this route with things that exist, and one with things that do not.
fn paths(route: &Route) -> [String; 2] {
    let cluster = route.path.starts_with("/v1/clusters/");
    let query = if route.path.ends_with("/log") && route.method.as_str() == "PUT" { "?offset=0" } else { "" };
    let fill = |exists: bool| {
        let segments = route.path.split('/').map(|segment| match (segment, exists) {
            ("{name}", true) if cluster => "etcd",
            ("{name}" | "{source}", true) => "one",
            ("{job}", true) => "job-one",
            ("{ask}", true) => "reboot",
            (word, true) if word.starts_with('{') => "a",
            (word, false) if word.starts_with('{') => "nothing",
            (plain, _) => plain,
        });
        segments.collect::<Vec<_>>().join("/") + query
    };
    [fill(true), fill(false)]
}

/// Every kind of token, by what is wrong with it.
fn tokens(site: &Site) -> Vec<(&'static str, Vec<u8>, Good)> {
    let etcd = || Audience::Cluster("etcd".into());
    let machine = |name| site.claims(name, Audience::Machine);
    let cluster = |name| site.claims(name, etcd());
    let aged = |mut claims: crate::identity::Claims| {
        claims.expires_unix_ms = claims.issued_unix_ms - 1;
        claims.issued_unix_ms -= 3_600_000;
        site.token(&claims)
    };
    let stale = |mut claims: crate::identity::Claims| {
        claims.generation -= 1;
        site.token(&claims)
    };
    let early = |mut claims: crate::identity::Claims| {
        claims.generation += 1;
        site.token(&claims)
    };
    let strangers = SiteKeys::generate("lab").expect("keys");
    let foreign = issue(&strangers, &machine("one")).expect("a token");
    let (other_administrator, _) = AdministratorToken::generate("ada").expect("random");
    let flipped = |token: &str| {
        let mut bytes = token.as_bytes().to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        [b"Bearer ".to_vec(), bytes].concat()
    };
    let good_machine = site.token(&machine("one"));
    let nobody = {
        let mut claims = machine("one");
        claims.machine = "nobody".into();
        site.token(&claims)
    };
    let text = |text: String| text.into_bytes();
    vec![
        ("nothing after Bearer", text("Bearer ".into()), None),
        ("an empty header", Vec::new(), None),
        ("no word Bearer", text(site.administrator.clone()), None),
        ("another scheme", text(format!("Basic {}", site.administrator)), None),
        ("garbage", text("Bearer garbage".into()), None),
        ("garbage that looks like a token", text("Bearer v4.public.AAAA".into()), None),
        ("a token of another version", text(good_machine.replace("v4.public", "v3.public")), None),
        ("bytes that are no text", b"Bearer \xff\xfe".to_vec(), None),
        ("a very long token", text(format!("Bearer v4.public.{}", "A".repeat(100_000))), None),
        ("a token of another site", text(format!("Bearer {foreign}")), None),
        ("an expired machine token", text(aged(machine("one"))), None),
        ("an expired cluster token", text(aged(cluster("one"))), None),
        ("a machine token of a stale generation", text(stale(machine("one"))), None),
        ("a cluster token of a stale generation", text(stale(cluster("one"))), None),
        ("a machine token of a generation to come", text(early(machine("one"))), None),
        ("a machine token of a machine that never was", text(nobody), None),
        ("a cluster token for another cluster than the machine's", text(site.token(&cluster("three"))), None),
        (
            "a cluster token for no cluster",
            text(site.token(&site.claims("one", Audience::Cluster("none".into())))),
            None,
        ),
        ("a quarantined machine's machine token", text(site.token(&machine("suspect"))), None),
        ("a quarantined machine's cluster token", text(site.token(&cluster("suspect"))), None),
        ("the machine token of a machine gone from Git", text(site.token(&machine("gone"))), None),
        ("the cluster token of a machine gone from Git", text(site.token(&cluster("gone"))), None),
        ("a machine token with a flipped bit", flipped(good_machine.trim_start_matches("Bearer ")), None),
        ("an administrator's token with a flipped bit", flipped(&site.administrator), None),
        ("an administrator's token of another site", text(format!("Bearer {other_administrator}")), None),
        ("a machine token", text(good_machine), Some(Opens::Machine)),
        ("a cluster token", text(site.token(&cluster("one"))), Some(Opens::Cluster)),
        ("an administrator's token", text(format!("Bearer {}", site.administrator)), Some(Opens::Administrator)),
        ("an administrator's token as git sends it", as_git_sends_it(&site.administrator), Some(Opens::Git)),
        ("a user's token", text(format!("Bearer {}", site.user)), Some(Opens::Git)),
        ("a user's token as git sends it", as_git_sends_it(&site.user), Some(Opens::Git)),
        ("a user's token with a flipped bit", flipped(&site.user), None),
        ("the capability of a push's hooks", text(format!("Bearer {}", site.pass.capability)), None),
        ("the capability of a push's hooks as git sends it", as_git_sends_it(&site.pass.capability), None),
        ("a boot's ticket", text(format!("Bearer {}", ticket(site))), None),
        ("a boot's ticket as git sends it", as_git_sends_it(&ticket(site)), None),
        ("the token of an installer's callback", text(format!("Bearer {}", callback(site))), None),
        ("the token of an installer's callback as git sends it", as_git_sends_it(&callback(site)), None),
        ("a user's token that is not known", as_git_sends_it("fwu_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), None),
    ]
}

/// The ticket of a boot that was offered, good for one exchange.
fn ticket(site: &Site) -> String {
    ticket_secret(&site.lab.keys, "ticket-one-2")
}

/// What opens the callback of the same boot.
fn callback(site: &Site) -> String {
    site.lab.fleet().callback_token("ticket-one-2")
}

/// The token as a password.
fn as_git_sends_it(token: &str) -> Vec<u8> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("administrator:{token}"));
    format!("Basic {pair}").into_bytes()
}

/// The administrator may read from and push to the hosted repository as well.
fn opens(good: Good, opens: Opens) -> bool {
    good == Some(opens) || (good == Some(Opens::Administrator) && opens == Opens::Git)
}

/// Everything that is written down.
fn written(site: &Site) -> String {
    let store = &site.lab.fleet().store;
    let clusters: Vec<_> = store.clusters().expect("read").into_iter().map(|name| store.cluster(&name)).collect();
    let log = std::fs::read_dir(site.lab.dir.path().join("logs")).expect("read").count();
    format!("{:?} {clusters:?} {:?} {log}", store.events_after(0, 10_000).expect("read"), store.leases().expect("read"))
}

fn wants_token(route: &Route) -> bool {
    matches!(route.opens, Opens::Machine | Opens::Cluster | Opens::Administrator | Opens::Hook | Opens::Git)
}

#[tokio::test]
async fn no_token_opens_a_route_that_is_not_its_own_and_no_refusal_tells_what_exists() {
    let site = Site::start().await;
    let before = written(&site);
    let mut tried = 0;
    for route in table().iter().filter(|route| wants_token(route)) {
        let [there, nowhere] = paths(route);
        let about = |what: &str| format!("{} {} with {what}", route.method.as_str(), route.path);
        let mut ask = async |token: Option<&[u8]>, what: &str| {
            let mut answers: Vec<Answer> = Vec::new();
            for (path, body) in [(&there, "{}"), (&nowhere, "{}"), (&there, "}{ no JSON"), (&nowhere, "")] {
                answers.push(site.ask(route, path, token, body).await);
                tried += 1;
            }
            let [first, ..] = answers.as_slice() else { panic!("no answer") };
            assert!(matches!(first.status, 401 | 403 | 404), "{}: {first:?}", about(what));
            assert!(answers.iter().all(|answer| answer == first), "{} tells what exists: {answers:?}", about(what));
        };
        ask(None, "no token").await;
        for (what, token, good) in tokens(&site) {
            if !opens(good, route.opens) {
                ask(Some(&token), what).await;
            }
        }
    }
    assert!(tried > 2_000, "only {tried} were tried: the table is not whole");
    assert_eq!(written(&site), before, "a refused request has an effect");
}

#[tokio::test]
async fn a_machines_token_opens_nothing_of_another_machine() {
    let site = Site::start().await;
    let before = written(&site);
    let token = site.token(&site.claims("two", Audience::Machine));
    let end = r#"{"bootId": "boot-one", "outcome": "done", "logBytes": 0}"#;
    let mut found = 0;
    for route in table().iter().filter(|route| route.opens == Opens::Machine && route.path.contains("{job}")) {
        let [there, nowhere] = paths(route);
        let theirs = site.ask(route, &there, Some(token.as_bytes()), end).await;
        assert_eq!(theirs.status, 404, "{}: {theirs:?}", route.path);
        assert_eq!(theirs, site.ask(route, &nowhere, Some(token.as_bytes()), end).await, "{}", route.path);
        found += 1;
    }
    assert_eq!(found, 2, "a route with a job's id was added: see that it is the asker's own");
    assert_eq!(written(&site), before);
}

#[tokio::test]
async fn each_token_opens_its_own_routes() {
    let site = Site::start().await;
    let tokens = tokens(&site);
    // What opens a webhook is a signature, no token: see the tests of hooks.
    for route in table().iter().filter(|route| wants_token(route) && route.opens != Opens::Hook) {
        let good: Vec<_> = tokens.iter().filter(|(_, _, good)| opens(*good, route.opens)).collect();
        assert!(!good.is_empty(), "no token opens {}", route.path);
        for (what, token, _) in good {
            let [there, _] = paths(route);
            let answer = site.ask(route, &there, Some(token), "{}").await;
            // Claims and sets are the machines' own: an administrator is told so.
            let opened = answer.status < 500 && answer.status != 401 && !answer.body.contains("token-");
            assert!(opened, "{} {} with {what}: {answer:?}", route.method.as_str(), route.path);
        }
    }
}

#[tokio::test]
async fn a_ticket_that_is_not_ours_is_refused_alike_whether_or_not_its_id_was_offered() {
    let site = Site::start().await;
    let table = table();
    let route = table.iter().find(|route| route.opens == Opens::Ticket).expect("the exchange");
    assert_eq!(table.iter().filter(|route| route.opens == Opens::Ticket).count(), 1);
    let before = written(&site);
    let ask = async |ticket: &str| {
        let body = serde_json::json!({
            "ticket": ticket, "publicKey": "AAAA", "signature": "AAAA", "bootId": "b", "protocol": 1,
            "agentVersion": "0", "hardware": {"macs": []},
        });
        site.ask(route, &route.path, None, &body.to_string()).await
    };
    let known = ask("ticket-one-2.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").await;
    assert_eq!((known.status, known.body.contains("ticket-unknown")), (401, true), "{known:?}");
    for ticket in ["ticket-nobody-2.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "", ".", "a.b.c", "ticket-one-2"] {
        assert_eq!(ask(ticket).await, known, "{ticket:?}");
    }
    assert_eq!(written(&site), before);
}

#[tokio::test]
async fn nothing_but_a_boots_own_ticket_is_exchanged_and_nothing_but_its_own_token_opens_its_callback() {
    let site = Site::start().await;
    let table = table();
    let route = table.iter().find(|route| route.opens == Opens::Ticket).expect("the exchange");
    let boot = crate::net::http::table();
    assert_eq!(boot.iter().filter(|route| route.opens == Opens::Callback).count(), 1, "another callback: try it here");
    let before = written(&site);
    let mut bare: Vec<(&str, String)> = tokens(&site)
        .into_iter()
        .filter_map(|(what, header, _)| {
            Some((what, String::from_utf8(header).ok()?.strip_prefix("Bearer ")?.to_owned()))
        })
        .collect();
    bare.push(("the callback of another boot", site.lab.fleet().callback_token("ticket-two-2")));
    assert!(bare.len() > 20, "only {} were tried", bare.len());
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    for (what, token) in &bare {
        if *token != ticket(&site) {
            // A key is proved all the same, so that nothing but the ticket can be what is refused.
            let id = token.rsplit_once('.').map_or("", |(id, _)| id);
            let signature = pair.sign(format!("formwork-exchange-v1\n{id}").as_bytes());
            let body = serde_json::json!({
                "ticket": token, "publicKey": encode(pair.public_key().as_ref()), "signature": encode(signature.as_ref()),
                "bootId": "boot-one", "protocol": 1, "agentVersion": "0", "hardware": {"macs": []},
            });
            let answer = site.ask(route, &route.path, None, &body.to_string()).await;
            let refused = ["ticket-unknown", "ticket-ended"].iter().any(|code| answer.body.contains(code));
            assert_eq!((answer.status, refused), (401, true), "{what}: {answer:?}");
        }
        if *token != callback(&site) {
            let said = InstallerSaid { token: token.clone(), success: true, message: None };
            let heard = site.lab.fleet().installer_ended("ticket-one-2", said).await;
            assert!(matches!(heard, Err(InstallerRefusal::Unknown)), "{what}: {heard:?}");
        }
    }
    assert_eq!(written(&site), before);
}

#[test]
fn only_what_must_be_open_is_open() {
    let open: Vec<_> = table().into_iter().filter(|route| !wants_token(route)).map(|route| route.path).collect();
    assert_eq!(open, ["/v1/agent/exchange", "/healthz"]);
}
