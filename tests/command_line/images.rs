//! The image folder: what is not in it is told, and what comes later is served.

use super::site::Site;

#[test]
fn files_that_machines_boot_are_missed_by_name_and_served_when_they_come() {
    let site = Site::start();
    let images = site.images();
    std::fs::remove_dir_all(images.join("discovery")).expect("removed");
    site.wait_for("discovery/vmlinuz is not in the image folder");
    let shown = site.type_in(&["status", "-o", "table"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("not served: discovery/initrd.zst is not in the image folder"), "{shown}");
    // And where a person looks who wonders about a machine: one line, with what to do.
    let line = "web.memory cannot be booted: discovery/vmlinuz is not in the image folder: put it there; \
                discovery/initrd.zst is not in the image folder: put it there";
    let look = |words: &[&str]| {
        let output = site.type_in(words);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (words, code) in [
        (&["get", "machine", "web-1", "-o", "yaml"][..], 0),
        (&["describe", "web-1", "-o", "json"], 0),
        (&["why", "web-1", "-o", "table"], 0),
        (&["plan", "web-1", "-o", "json"], 1),
    ] {
        let (ended, text) = look(words);
        assert!(ended == Some(code) && text.contains(line), "{words:?} {ended:?}: {text}");
    }
    std::fs::create_dir(images.join("discovery")).expect("made");
    for name in ["discovery/vmlinuz", "discovery/initrd.zst"] {
        std::fs::write(images.join(name), "anything").expect("written");
    }
    site.wait_for("\"files\": []");
    for words in [&["why", "web-1", "-o", "table"][..], &["plan", "web-1", "-o", "json"]] {
        assert!(!look(words).1.contains("cannot be booted"), "{words:?}");
    }
    // A loader, too, though the table of loaders is kept in memory.
    assert!(site.boot_server_gives("/boot/loaders/late.efi").starts_with("HTTP/1.1 404"));
    std::fs::write(images.join("loaders/late.efi"), "a loader").expect("written");
    site.wait_until("the loader is served", || site.boot_server_gives("/boot/loaders/late.efi").ends_with("a loader"));
}
