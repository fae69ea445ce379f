use super::files::{content, images, judge_validity, state};
use super::system::{capabilities, inodes, room};
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
    assert_eq!(by_name(&state(&at), "state directory").verdict, Verdict::Fail);
    crate::serve::StateDirectory(at.clone()).create("lab", true, "https://127.0.0.1:1").unwrap();
    let checks = state(&at);
    assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:?}");
    assert!(by_name(&checks, "authority").says.contains("days more"));
    mode(&at.join("keys/signing.key"), 0o640);
    mode(&at, 0o755);
    let checks = state(&at);
    let keys = by_name(&checks, "keys and secrets");
    assert_eq!(keys.verdict, Verdict::Fail);
    assert_eq!(keys.remedy, Some(format!("chmod 600 {}", at.join("keys/signing.key").display())));
    assert_eq!(by_name(&checks, "state directory").verdict, Verdict::Warn);
}

#[test]
fn images_that_content_boots_must_be_there_and_be_what_their_checksums_say() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("loaders/snponly.efi", "loader");
    write("images/disk.raw.zst", "abc");
    // SHA-256 of "abc" (FIPS 180-2, B.1).
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    write("images/disk.json", &format!("{{\"sha256\": \"{sum}\"}}"));
    write("hardware/vmlinuz", "kernel");
    let catalog = crate::catalog::testing::compiled(&crate::catalog::testing::site(&[])).unwrap();
    let checks = images(folder.path(), Some(&catalog));
    let verdict = |name: &str| by_name(&checks, name).verdict;
    assert_eq!(verdict("loader snponly.efi"), Verdict::Ok);
    assert_eq!(verdict("loader undionly.kpxe"), Verdict::Fail);
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

#[test]
fn each_line_says_how_it_stands_and_what_to_do() {
    let checks = [
        Check::ok("port 8080/tcp", "free, for HTTP"),
        Check::warn("DHCP on br0", "10.0.0.9 offers 10.0.0.100", "serve this subnet with `mode: proxy`"),
        Check::fail("store", "there is none", "formwork site create NAME"),
    ];
    insta::assert_snapshot!(draw(&checks, Style { width: Some(70), colour: false }));
}
