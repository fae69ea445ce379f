//! Clients that mean no good, or go away.

use super::site::{PATIENCE, Person, SITE, Said, Site, node, said, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// What curl prints of a request: the status, and the body.
fn curl(site: &Site, words: &[&str], path: &str) -> Said {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--noproxy",
            "*",
            "--path-as-is",
            "--write-out",
            "\n%{http_code}",
        ])
        .arg("--cacert")
        .arg(site.path("ca.pem"))
        .arg("--netrc-file")
        .arg(site.path("netrc"))
        .args(words)
        .arg(format!("https://127.0.0.1:{}{path}", site.port()));
    let line = format!("machine 127.0.0.1 login administrator password {}\n", site.administrator());
    std::fs::write(site.path("netrc"), line).unwrap();
    said(command)
}

#[test]
fn nothing_but_gits_three_routes_is_below_git() {
    let site = Site::hosted();
    site.person().begin();
    let good = curl(&site, &[], "/git/site.git/info/refs?service=git-upload-pack");
    assert!(good.text.contains("refs/heads/main") && good.text.ends_with("200"), "{}", good.text);
    for path in [
        "/git/site.git/HEAD",
        "/git/site.git/config",
        "/git/site.git/objects/info/packs",
        "/git/site.git/../../administrator.json",
        "/git/../administrator.json",
        "/git/site.git/info/../config",
        "/git/site.git/info/refs/../../config",
        "/git/site.git/%2e%2e/%2e%2e/administrator.json",
        "/git/site.git%2f..%2f..%2fadministrator.json",
        "/git//site.git/info/refs?service=git-upload-pack",
        "/git/other.git/info/refs?service=git-upload-pack",
        "/git/site.git/info/refs/?service=git-upload-pack",
        "/git/site.git/git-upload-archive",
        "/git/",
    ] {
        let answer = curl(&site, &[], path);
        assert!(answer.text.ends_with("404") || answer.text.ends_with("405"), "{path}: {}", answer.text);
        assert!(!answer.text.contains("fwa_") && !answer.text.contains("bare"), "{path}: {}", answer.text);
    }
    // The dumb protocol, and services that are none.
    for query in ["", "?service=git-upload-archive", "?service=git-upload-pack&x=y", "?service=..%2fx"] {
        let answer = curl(&site, &[], &format!("/git/site.git/info/refs{query}"));
        assert!(answer.text.ends_with("403"), "{query}: {}", answer.text);
    }
}

#[test]
fn a_client_puts_nothing_into_the_environment_of_git() {
    let site = Site::hosted();
    site.person().begin();
    let evil = [
        "-H",
        "Git-Protocol: version=2:x=$(id)",
        "-H",
        "Proxy: http://evil",
        "-H",
        "Git-Dir: /",
        "-H",
        "Path-Translated: /etc",
    ];
    let answer = curl(&site, &evil, "/git/site.git/info/refs?service=git-upload-pack");
    assert!(answer.text.contains("version 2") && answer.text.ends_with("200"), "{}", answer.text);
    for (header, expected) in [
        ("Content-Type: text/plain", "415"),
        ("Content-Encoding: br", "415"),
        ("Content-Length: 99999999999", "413"),
        ("Content-Length: nonsense", "400"),
    ] {
        let right = "Content-Type: application/x-git-receive-pack-request";
        let kind = if header.starts_with("Content-Type") { "X-Nothing: here" } else { right };
        let answer = curl(
            &site,
            &["-X", "POST", "-H", kind, "-H", header, "--max-time", "20"],
            "/git/site.git/git-receive-pack",
        );
        // curl gives up on a length that it does not send itself; the answer came before.
        assert!(answer.text.contains(expected) || !answer.good, "{header}: {}", answer.text);
    }
    for (body, status) in [("", "400"), ("0000", "200"), ("garbage", "400"), ("ffff", "400"), ("0008abcd", "400")] {
        let kind = "Content-Type: application/x-git-receive-pack-request";
        let answer = curl(&site, &["--data-binary", body, "-H", kind], "/git/site.git/git-receive-pack");
        assert!(!answer.text.contains("fwa_"), "{body}: {}", answer.text);
        assert!(answer.text.ends_with(status), "{body}: {}", answer.text);
        assert_eq!(answer.text.contains("not what git sends"), status == "400", "{body}: {}", answer.text);
    }
    assert!(site.branch("main").is_some());
}

#[test]
fn a_push_that_is_too_large_is_refused_and_leaves_nothing() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    // The bound itself is in the repository's configuration, and is tried with a smaller one.
    let config = site.repository().join("config");
    let lower =
        ["config", "--file", &config.display().to_string(), "receive.maxInputSize", "1000000"].map(str::to_owned);
    ada.git(&lower.each_ref().map(String::as_str)).taken();
    noise(&ada);
    ada.commit("Noise", &[]);
    ada.push(&["origin", "main"]).refused(&["maximum allowed size"]);
    assert_eq!(site.branch("main"), Some(first.clone()));
    until("nothing is left", || site.quarantines().is_empty());
    let restore =
        ["config", "--file", &config.display().to_string(), "receive.maxInputSize", "268435456"].map(str::to_owned);
    ada.git(&restore.each_ref().map(String::as_str)).taken();
    // One file that is too large is told by name.
    ada.git(&["reset", "-q", "--hard", &first]).taken();
    std::fs::write(ada.folder.path().join("kernel"), vec![b'x'; 40 << 20]).unwrap();
    ada.commit("A kernel", &[]);
    ada.push(&["origin", "main"]).refused(&["kernel:1:1: larger than 16 MiB", "image folder"]);
    assert_eq!(site.branch("main"), Some(first));
}

// The bound itself, over the wire: 272 MiB that cannot be compressed, in files of which each is taken.
#[test]
fn more_than_a_push_may_bring_is_refused_and_leaves_nothing_and_the_next_push_is_taken() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    let mut noise = std::fs::File::open("/dev/urandom").unwrap();
    let mut bytes = vec![0; (16 << 20) - 1024];
    for n in 0..17 {
        noise.read_exact(&mut bytes[..4096]).unwrap();
        // Each file another one; within it bytes repeat, and are sent as they are.
        let half = bytes.len() / 2;
        noise.read_exact(&mut bytes[half..half + 4096]).unwrap();
        std::fs::write(ada.folder.path().join(format!("noise-{n}")), &bytes).unwrap();
    }
    ada.git(&["config", "core.compression", "0"]).taken();
    ada.git(&["config", "pack.window", "0"]).taken();
    ada.commit("Far too much", &[]);
    ada.push(&["origin", "main"]).refused(&["maximum allowed size"]);
    assert_eq!(site.branch("main"), Some(first.clone()));
    until("nothing is left", || site.quarantines().is_empty());
    ada.git(&["reset", "-q", "--hard", &first]).taken();
    let next = ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&next);
}

#[test]
fn a_compressed_question_is_unpacked_before_git_sees_it() {
    let site = Site::hosted();
    site.person().begin();
    let pack = |text: &str, name: &str| {
        std::fs::write(site.path(name), text).unwrap();
        assert!(Command::new("gzip").arg("-f").arg(site.path(name)).status().unwrap().success());
        format!("@{}.gz", site.path(name).display())
    };
    let ask = |body: &str| {
        let kind = "Content-Type: application/x-git-receive-pack-request";
        let words = ["--data-binary", body, "-H", kind, "-H", "Content-Encoding: gzip"];
        curl(&site, &words, "/git/site.git/git-receive-pack").text
    };
    assert!(ask(&pack("0000", "flush")).ends_with("200"));
    // What is no gzip, and what unpacks to a thousand times its size.
    for body in ["0000".to_owned(), pack(&"z".repeat(64 << 20), "bomb")] {
        let said = ask(&body);
        assert!(said.ends_with("400") && said.contains("not what git sends"), "{said}");
    }
}

#[test]
fn a_push_that_is_killed_on_its_way_leaves_nothing() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    noise(&ada);
    // Not good either, so that a push that came through before it was killed changes nothing.
    ada.commit("Noise", &[("site.yaml", "kind: Site\n")]);
    let mut push = ada.command(&["-c", "core.compression=0", "push", "origin", "main"]);
    push.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut push = push.spawn().unwrap();
    let mut seen = false;
    while !seen && push.try_wait().unwrap().is_none() {
        seen = !site.quarantines().is_empty();
    }
    assert!(seen, "it is killed while it is received");
    // With all that it started.
    let group = format!("-{}", push.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    let _ = push.wait();
    until("nothing is left", || site.quarantines().is_empty());
    assert_eq!(site.branch("main"), Some(first));
    let third = {
        ada.git(&["reset", "-q", "--hard", "origin/main"]).taken();
        ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))])
    };
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&third);
}

/// Files that cannot be compressed, of a size that each may have.
pub fn noise(person: &Person<'_>) {
    let mut noise = std::fs::File::open("/dev/urandom").unwrap();
    for n in 0..3 {
        let mut bytes = vec![0; 8 << 20];
        noise.read_exact(&mut bytes).unwrap();
        std::fs::write(person.folder.path().join(format!("noise-{n}")), bytes).unwrap();
    }
}

#[test]
fn a_slow_client_holds_nobody_up_and_is_let_go() {
    let site = Site::hosted();
    let ada = site.person();
    ada.begin();
    // As many as may push at once, less one, each in the middle of its question.
    let slow: Vec<_> = (0..7).map(|number| begin_slowly(&site, number)).collect();
    // What they run says in its environment where it is told to look.
    let root = format!("GIT_PROJECT_ROOT={}/git\0", site.state().canonicalize().unwrap().display());
    let backends = || {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let environments = processes.filter_map(|process| {
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            let environment = std::fs::read(process.path().join("environ")).ok()?;
            name.starts_with("git-http-backen").then_some(environment)
        });
        environments.filter(|it| it.windows(root.len()).any(|part| part == root.as_bytes())).count()
    };
    until("each of them has its child", || backends() >= 7);
    let second = ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&second);
    let fresh = Person::new(&site, "administrator", &site.administrator());
    fresh.git(&["fetch", "-q", "origin"]).taken();
    assert!(backends() >= 7, "they were there all the time");
    for mut client in slow {
        let _ = client.kill();
        let _ = client.wait();
    }
    until("their children are gone", || backends() == 0);
}

/// A push whose body stops in the middle; the child ends when the connection is dropped.
fn begin_slowly(site: &Site, number: usize) -> std::process::Child {
    // Of its own: one that is written over while it is read says nothing.
    let config = site.path(&format!("slow-{number}.conf"));
    let lines =
        format!("user = \"administrator:{}\"\nurl = \"{}/git-receive-pack\"\n", site.administrator(), site.url());
    std::fs::write(&config, lines).unwrap();
    let mut child = Command::new("curl")
        .args(["--silent", "--noproxy", "*", "-X", "POST", "-T", "-", "-H", "Transfer-Encoding: chunked"])
        .args([
            "-H",
            "Content-Type: application/x-git-receive-pack-request",
            "--max-time",
            &PATIENCE.as_secs().to_string(),
        ])
        .arg("--cacert")
        .arg(site.path("ca.pem"))
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"00").unwrap();
    child
}

#[test]
fn a_server_that_follows_another_source_hosts_nothing() {
    let site = Site::new(|folder| {
        let path = folder.join("own.git");
        assert!(
            Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&path).status().unwrap().success()
        );
        super::site::Content::Repository(path)
    });
    let ada = site.person();
    ada.commit("Mine", SITE);
    ada.push(&["origin", "main"]).refused(&["hosts no repository"]);
    assert!(TcpStream::connect(("127.0.0.1", site.port())).is_ok());
}
