//! A server and packs that are locked and not vendored.

use super::bed::{self, Server};
use super::site::{FORMWORK, World};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Serves `site/` by its commits, with these words besides.
fn serve(world: &World, words: &[&str]) -> Server {
    serve_source(world, &[&["--repository", &world.path("site").to_string_lossy()], words].concat())
}

/// Serves what these words say.
fn serve_source(world: &World, words: &[&str]) -> Server {
    let state = world.path("state");
    bed::make_site(&state);
    let (server, _) = Server::on_free_ports(|ports| {
        let mut command = Server::command(Command::new(FORMWORK), &state, ports);
        command.args(words).env("HOME", world.path("home")).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command
    });
    server
}

/// Waits until what `formwork status` says of content holds all of these.
fn status_says(world: &World, parts: &[&str]) -> String {
    let end = Instant::now() + bed::PATIENCE;
    loop {
        let said = bed::status(&world.path("state"))["content"].to_string();
        if parts.iter().all(|part| said.contains(part)) {
            return said;
        }
        assert!(Instant::now() < end, "{parts:?} are not all in:\n{said}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until this revision serves.
fn serves(world: &World, revision: &str) {
    status_says(world, &["\"condition\":\"Ready\"", &format!("\"lastAppliedRevision\":\"{revision}\"")]);
}

fn commit_site(world: &World, message: &str) -> String {
    world.git("site", &["add", "--all"]);
    world.git("site", &["commit", "--quiet", "--message", message]);
    world.git("site", &["rev-parse", "HEAD"])
}

#[test]
fn a_server_that_may_not_fetch_refuses_a_pack_that_is_not_vendored_and_says_what_to_do() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url(), "--no-vendor"]);
    world.git("site", &["init", "--quiet", "--initial-branch", "main"]);
    commit_site(&world, "locked");
    let _server = serve(&world, &[]);
    status_says(&world, &["formwork pack vendor pack", "are not here"]);
    world.ends(0, &["pack", "vendor"]);
    let id = commit_site(&world, "vendored");
    serves(&world, &id);
}

#[test]
fn a_server_fetches_the_locked_commit_once_and_waits_while_it_cannot() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url(), "--version", "^1", "--no-vendor"]);
    world.git("site", &["init", "--quiet", "--initial-branch", "main"]);
    let first = commit_site(&world, "locked");
    // What the range means by now is not what is fetched.
    let newer = world.release("1.1.0");
    let server = serve(&world, &["--fetch-packs"]);
    serves(&world, &first);
    let fetched = world.git("state/packs.git", &["for-each-ref", "--format=%(refname:lstrip=3)"]);
    assert_eq!(fetched.lines().count(), 1, "{fetched}");
    assert_ne!(fetched, newer);
    // The pack's repository is away: the server starts with what it has.
    drop(server);
    world.ends(0, &["pack", "update"]);
    std::fs::rename(world.path("pack"), world.path("away")).expect("moved");
    let _server = serve(&world, &["--fetch-packs"]);
    serves(&world, &first);
    // A newer lock waits for it, and the last good revision serves.
    let second = commit_site(&world, "updated");
    let said = status_says(&world, &["is tried again: pack pack is locked", &second]);
    assert!(said.contains(&first), "{said}");
    std::fs::rename(world.path("away"), world.path("pack")).expect("moved");
    serves(&world, &second);
}

/// Pushes `site/` to the server's own repository: whether it was taken, and what git printed.
fn push(world: &World) -> (bool, String) {
    let context: serde_json::Value = serde_json::from_str(&world.read("state/administrator.json")).expect("JSON");
    let text = |name: &str| context[name].as_str().expect("text").to_owned();
    world.write("ca.pem", &text("caCertificate"));
    let output = Command::new("git")
        .current_dir(world.path("site"))
        .env("PUSH_TOKEN", text("token"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_SSL_CAINFO")
        .env("no_proxy", "*")
        .arg("-c")
        .arg(format!("http.sslCAInfo={}", world.path("ca.pem").display()))
        .args(["-c", "credential.helper=!f() { echo username=administrator; echo password=$PUSH_TOKEN; }; f", "push"])
        .arg(format!("{}/git/site.git", text("server")))
        .arg("HEAD:main")
        .stdin(Stdio::null())
        .output()
        .expect("git runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_push_is_judged_with_the_packs_that_it_locks_and_refused_where_they_cannot_be_had() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url(), "--version", "^1", "--no-vendor"]);
    world.git("site", &["init", "--quiet", "--initial-branch", "main"]);
    let locked = commit_site(&world, "locked");
    // A server that may not fetch.
    let server = serve_source(&world, &["--hosted"]);
    let (taken, said) = push(&world);
    assert!(!taken && said.contains("are not here") && said.contains("formwork pack vendor pack"), "{said}");
    drop(server);

    let _server = serve_source(&world, &["--hosted", "--fetch-packs"]);
    let (taken, said) = push(&world);
    assert!(taken && said.contains("success: accepted"), "{said}");
    serves(&world, &locked);

    // What is in no lock is nothing to fetch.
    let (site, lock) = (world.read("site/site.yaml"), world.read("site/packs.lock"));
    std::fs::remove_file(world.path("site/packs.lock")).expect("removed");
    commit_site(&world, "no lock");
    let (taken, said) = push(&world);
    assert!(!taken && said.contains("pack `pack` is not in packs.lock"), "{said}");
    world.write("site/packs.lock", &lock);
    commit_site(&world, "the lock again");

    // A newer one, whose repository is away: refused with why, and nothing of it serves.
    let newer = world.release("1.1.0");
    world.ends(0, &["pack", "update"]);
    assert!(world.read("site/packs.lock").contains(&newer));
    commit_site(&world, "updated");
    std::fs::rename(world.path("pack"), world.path("away")).expect("moved");
    let (taken, said) = push(&world);
    assert!(
        !taken && said.contains("packs.lock:1:1: pack pack is locked and not vendored, and cannot be fetched"),
        "{said}"
    );
    status_says(&world, &[&format!("\"lastAppliedRevision\":\"{locked}\"")]);
    std::fs::rename(world.path("away"), world.path("pack")).expect("moved");
    let (taken, said) = push(&world);
    assert!(taken, "{said}");
    serves(&world, &world.git("site", &["rev-parse", "HEAD"]));

    // Other files than the lock says are refused with the hash, whatever the commit.
    let hash = lock.split("sha256:").nth(1).expect("a hash").trim().to_owned();
    world.write("site/packs.lock", &lock.replace(&hash, &"0".repeat(64)));
    world.write("site/site.yaml", &site);
    commit_site(&world, "another hash");
    let (taken, said) = push(&world);
    assert!(!taken && said.contains("is not what packs.lock pins pack `pack` to"), "{said}");
}

#[test]
fn what_a_pack_gives_to_a_machine_is_traced_to_the_packs_own_repository_and_commit() {
    let world = World::new();
    world.write(
        "pack/words.yaml",
        "apiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {name: word}\nspec: {schema: {type: string}}\n---\n\
         apiVersion: formwork.dev/v1alpha1\nkind: Profile\nmetadata: {name: words}\nspec: {params: {word: x}}\n",
    );
    let locked = world.release("1.1.0");
    world.ends(0, &["pack", "add", &world.url()]);
    world.write(
        "site/machine.yaml",
        "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {name: m-1}\n\
         spec: {match: {macs: ['52:54:00:00:00:01']}, profiles: [words]}\n",
    );
    world.git("site", &["init", "--quiet", "--initial-branch", "main"]);
    let vendored = commit_site(&world, "vendored");
    let profile = |said: &[u8]| {
        let trace: serde_json::Value = serde_json::from_slice(said).expect("JSON");
        let origins = trace["origins"].as_array().expect("a list").clone();
        let found = origins.into_iter().find(|origin| origin["what"] == "profile pack.words");
        found.unwrap_or_else(|| panic!("{trace:#}"))
    };
    let repository = serde_json::json!({"url": world.url(), "file": "words.yaml", "revision": locked});
    // Its files lie in the site's repository: who laid them there is known, and where they are from.
    let found = profile(&world.type_in(&["trace", "m-1", "--dir", ".", "-o", "json"]).stdout);
    assert_eq!((&found["repository"], found["commit"]["id"].as_str()), (&repository, Some(vendored.as_str())));
    assert_eq!(found["place"]["file"], "packs/vendor/pack/words.yaml");
    // They are fetched: then it is the pack's own commit.
    std::fs::remove_dir_all(world.path("site/packs")).expect("removed");
    let fetched = commit_site(&world, "not vendored");
    let _server = serve(&world, &["--fetch-packs"]);
    serves(&world, &fetched);
    let output = bed::type_in(&world.path("state"), &["trace", "m-1", "-o", "json"]);
    let found = profile(&output.stdout);
    assert_eq!((&found["repository"], found["commit"]["id"].as_str()), (&repository, Some(locked.as_str())));
}
