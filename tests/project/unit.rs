//! The systemd unit: what it waits for, and how it ends.

use super::{read, root};

#[test]
fn the_unit_starts_whatever_is_there_so_that_the_server_says_what_is_not() {
    let unit = read(&root().join("packaging/debian/formwork.service"));
    let lines: Vec<&str> = unit.lines().filter(|line| !line.starts_with('#')).collect();
    // A store may lie in Kubernetes, or be lost: a condition would skip the start without a word.
    let skips = lines.iter().find(|line| line.starts_with("Condition"));
    assert_eq!(skips, None);
    // What is not there yet, such as an interface, is waited for.
    assert!(lines.contains(&"Restart=on-failure") && lines.contains(&"RestartSec=2"));
}
