use super::files::{Stored, content, images, judge_validity, state};
use super::sources::{of_policy, reached};
use super::system::{capabilities, inodes, room, space, urls};
use super::wire::judge;
use super::*;
use crate::net::discover::Answer;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn by_name<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name} in {checks:?}"))
}

#[test]
fn a_state_directory_that_others_can_read_is_told_with_the_command_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("state");
    assert_eq!(by_name(&state(&at, Stored::Here, None), "state directory").verdict, Verdict::Fail);
    crate::serve::StateDirectory(at.clone()).create("lab", true, "https://127.0.0.1:1").unwrap();
    let checks = state(&at, Stored::Here, None);
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:?}");
    assert!(by_name(&checks, "authority").says.contains("days more"));
    mode(&at.join("keys/signing.key"), 0o640);
    mode(&at, 0o755);
    let checks = state(&at, Stored::Here, None);
    let keys = by_name(&checks, "keys and secrets");
    assert_eq!(keys.verdict, Verdict::Fail);
    assert_eq!(keys.remedy, Some(format!("chmod 600 {}", at.join("keys/signing.key").display())));
    assert_eq!(by_name(&checks, "state directory").verdict, Verdict::Warn);
}

#[test]
fn a_store_that_lies_elsewhere_is_not_missing_here() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("state");
    // A replica makes it, and takes the keys that lie beside the store.
    assert_eq!(by_name(&state(&at, Stored::ElsewhereWithKeys, None), "state directory").verdict, Verdict::Ok);
    assert_eq!(by_name(&state(&at, Stored::Elsewhere, None), "state directory").verdict, Verdict::Fail);
    crate::serve::StateDirectory(at.clone()).create("lab", true, "https://127.0.0.1:1").unwrap();
    std::fs::remove_file(at.join("store.redb")).unwrap();
    let none = state(&at, Stored::Here, None);
    assert_eq!(by_name(&none, "store").says, "there is none");
    std::fs::write(at.join("store-elsewhere"), "namespace lab of Kubernetes").unwrap();
    let store = by_name(&state(&at, Stored::Here, None), "store").clone();
    assert_eq!(
        (store.verdict, store.says.as_str()),
        (Verdict::Fail, "it is not here, but in namespace lab of Kubernetes")
    );
    for stored in [Stored::Elsewhere, Stored::ElsewhereWithKeys] {
        let checks = state(&at, stored, None);
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok && check.name != "store"), "{checks:?}");
    }
}

#[test]
fn images_that_content_boots_must_be_there_and_be_what_their_checksums_say() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("loaders/undionly.kpxe", "x");
    std::fs::write(folder.path().join("loaders/snponly.efi"), loader::sound("snponly.efi")).unwrap();
    write("images/disk.raw.zst", "abc");
    // SHA-256 of "abc" (FIPS 180-2, B.1).
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    write("images/disk.json", &format!("{{\"sha256\": \"{sum}\"}}"));
    write("hardware/vmlinuz", "kernel");
    let catalog = crate::catalog::testing::compiled(&crate::catalog::testing::site(&[])).unwrap();
    let checks = images(folder.path(), Some(&catalog));
    let verdict = |name: &str| by_name(&checks, name).verdict;
    assert_eq!(verdict("loader snponly.efi"), Verdict::Ok);
    let bad = by_name(&checks, "loader undionly.kpxe");
    assert_eq!(bad.verdict, Verdict::Fail);
    assert!(bad.says.contains("loaders/undionly.kpxe: it is no boot program"), "{}", bad.says);
    assert!(bad.remedy.as_deref().is_some_and(|remedy| remedy.contains("/usr/lib/ipxe")), "{:?}", bad.remedy);
    assert_eq!(verdict("image images/disk.raw.zst"), Verdict::Ok);
    assert_eq!(verdict("image discovery/vmlinuz"), Verdict::Fail);
    write("images/disk.raw.zst", "abd");
    assert_eq!(by_name(&images(folder.path(), None), "image images/disk.raw.zst").verdict, Verdict::Fail);
    assert_eq!(by_name(&images(&folder.path().join("nowhere"), None), "images").verdict, Verdict::Fail);
}

#[test]
fn content_is_not_asked_about_unless_it_is_named() {
    assert_eq!(content(&offline::Place::default()).0, []);
}

#[test]
fn another_dhcp_server_is_told_of_and_this_computers_own_is_not() {
    let answer = |last: u8, boots| Answer { server: [10, 0, 0, last].into(), offered: [10, 0, 0, 100].into(), boots };
    let shown = |answers: Vec<Answer>| {
        let check = judge("br0", 4, Ok(answers), |answer| answer.server == Ipv4Addr::from([10, 0, 0, 1]));
        (check.verdict, check.says)
    };
    assert_eq!(shown(vec![]), (Verdict::Ok, "nobody answered within 4 s".into()));
    assert_eq!(shown(vec![answer(1, true)]), (Verdict::Ok, "only this computer answers (10.0.0.1)".into()));
    assert_eq!(shown(vec![answer(1, true), answer(9, false)]), (Verdict::Warn, "10.0.0.9 offers 10.0.0.100".into()));
    let check = judge("br0", 4, Ok(vec![answer(9, true)]), |_| false);
    assert!(check.remedy.unwrap().contains("lottery"));
    let denied = judge("br0", 4, Err(std::io::ErrorKind::PermissionDenied.into()), |_| false);
    assert_eq!(denied.verdict, Verdict::Warn);
}

#[test]
fn the_system_is_read_as_its_manual_says() {
    assert_eq!(capabilities("Name:\tx\nCapEff:\t0000000000002400\n"), Some((1 << 10) | (1 << 13)));
    assert_eq!(capabilities("Name:\tx\n"), None);
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n   1: 0100007F:1F90 0100007F:0001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n";
    assert_eq!(inodes(table, 8080), ["4711"]);
    assert_eq!(inodes(table, 80), Vec::<String>::new());
}

#[test]
fn time_and_room_that_run_out_are_told_before_they_have() {
    let day = 86_400;
    let verdict = |now, from, until| judge_validity("authority", now, from, until).verdict;
    assert_eq!(verdict(0, -1, 1000 * day), Verdict::Ok);
    assert_eq!(verdict(0, -1, 30 * day), Verdict::Warn);
    assert_eq!((verdict(0, -1, 0), verdict(0, 1, 1000 * day)), (Verdict::Fail, Verdict::Fail));
    let verdict = |free, inodes| room("x".into(), free, inodes, 100_000).verdict;
    assert_eq!(verdict(5 << 30, 50_000), Verdict::Ok);
    assert_eq!((verdict(500 << 20, 50_000), verdict(5 << 30, 10)), (Verdict::Warn, Verdict::Fail));
    assert_eq!(verdict(1 << 20, 50_000), Verdict::Fail);
}

/// As typed.
fn typed(words: &[&str]) -> Result<Arguments, clap::Error> {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }
    <Program as clap::Parser>::try_parse_from(std::iter::once(&"doctor").chain(words)).map(|it| it.arguments)
}

#[test]
fn urls_are_those_that_machines_and_administrators_will_use() {
    let said = |words: &[&str]| -> Vec<(String, Verdict)> {
        urls(&typed(words).unwrap()).into_iter().map(|check| (check.says, check.verdict)).collect()
    };
    assert_eq!(said(&[]), []);
    let good = said(&["--address", "10.77.0.1", "--api-port", "443"]);
    let expected = ["http://10.77.0.1:8080", "https://10.77.0.1:443"].map(|url| (url.to_owned(), Verdict::Ok));
    assert_eq!(good, expected);
    assert!(said(&["--address", "127.0.0.1"]).iter().all(|(_, verdict)| *verdict == Verdict::Warn));
}

#[test]
fn nothing_is_said_of_the_room_for_a_folder_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(space(&folder.path().join("nowhere")), None);
    assert!(space(folder.path()).is_some_and(|check| check.name == format!("room for {}", folder.path().display())));
}

#[test]
fn each_source_is_asked_and_one_that_is_away_does_not_keep_the_others_from_being_told() {
    use crate::git::GitError;
    use crate::git::remote::{Follow, Location, SourceSettings};
    let source = |name: &str| {
        let location = Location::parse(&format!("https://git.example.org/{name}.git")).unwrap();
        SourceSettings::new(name, location, Follow::Default)
    };
    let checks = reached(&[source("platform"), source("team-a")], |settings| match settings.name.as_str() {
        "platform" => Ok(("refs/heads/main".to_owned(), "0123456789abcdef".to_owned())),
        _ => Err(GitError::Fetch { url: settings.location.to_string(), message: "HTTP 401".to_owned() }),
    });
    let good = by_name(&checks, "source platform");
    assert_eq!(good.verdict, Verdict::Ok);
    assert_eq!(good.says, "https://git.example.org/platform.git shows refs/heads/main at 0123456789");
    let away = by_name(&checks, "source team-a");
    assert_eq!((away.verdict, away.says.as_str()), (Verdict::Fail, "https://git.example.org/team-a.git: HTTP 401"));
}

#[test]
fn what_a_server_is_given_about_sources_is_read_as_it_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, at_mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        mode(&path, at_mode);
        path.display().to_string()
    };
    let checks = |words: &[&str]| {
        let arguments = typed(words).unwrap();
        sources::sources(&arguments.content, &arguments.sources)
    };
    let yaml = |more: &str| {
        format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - {{name: main, url: {}/no.git, \
             branch: main{more}}}\n",
            folder.path().display()
        )
    };
    let named = write("sources.yaml", &yaml(", trust: trust.yaml"), 0o644);
    write("trust.yaml", "allowedSigners: allowed\n", 0o644);
    let said = checks(&["--sources", &named]);
    assert_eq!(by_name(&said, "source main").verdict, Verdict::Fail);
    assert!(by_name(&said, "trust").says.contains("`allowed`"), "{said:?}");
    let key = "alice@x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEMKQ8HhJAKpvXYTDuSGwQKGn4wGA7oHz7XkjKpKaWi\n";
    write("allowed", key, 0o644);
    let said = checks(&["--sources", &named]);
    assert!(by_name(&said, "trust").says.starts_with("every commit has to be signed; 1 signer by SSH"), "{said:?}");
    let broken = write("broken.yaml", "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec: {sources: []}\n", 0o644);
    let said = checks(&["--sources", &broken]);
    assert!(by_name(&said, "sources").says.contains("broken.yaml:3:"), "{said:?}");
    let open = write("age.txt", "AGE-SECRET-KEY-1\n", 0o644);
    assert_eq!(by_name(&checks(&["--age-identities", &open]), "age identities").verdict, Verdict::Fail);
    assert!(typed(&["--sources", "x", "--repository", "y"]).is_err());
    assert!(typed(&["--token-file", "x"]).is_err());
    let said = checks(&["--repository", "http://git.example.org/site.git"]);
    assert_eq!(by_name(&said, "sources").verdict, Verdict::Fail, "it is no path, and not followed");
    assert_eq!(checks(&["--repository", "/srv/site.git"]), []);
    assert!(of_policy(&crate::trust::Policy::default()).contains("no rules"));
}

#[test]
fn each_line_says_how_it_stands_and_what_to_do() {
    let checks = [
        Check::ok("port 8080/tcp", "free, for HTTP"),
        Check::warn("DHCP on br0", "10.0.0.9 offers 10.0.0.100", "serve this subnet with `mode: proxy`"),
        Check::fail("store", "there is none", "formwork site create NAME"),
    ];
    insta::assert_snapshot!(draw(&checks, Style { width: Some(70), colour: false }));
}
