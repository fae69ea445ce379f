//! A revision is not loaded for ever: where it takes too long it is left off between two files or machines, and refused for that, so
//! that it keeps no other from being loaded.

use super::{Build, Built};
use crate::content::{Stop, Tree};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// So long a revision is loaded, at most. The largest sites take seconds.
pub const LOAD_MOST: Duration = Duration::from_secs(600);
/// After so long the status says since when.
pub(super) const LOAD_SLOW: Duration = Duration::from_secs(60);

/// Until it took so long. The time begins with the first question: when work does, and not while it waits for its turn.
pub fn until_late(most: Duration) -> Stop {
    let began = OnceLock::new();
    Stop::when_late(move || began.get_or_init(Instant::now).elapsed() >= most)
}

/// Builds. What was found of a part of it says nothing, where the rest was not looked at.
///
/// # Errors
/// All findings, or that it took longer than `most`.
pub fn in_time<C>(
    build: &Build<C>,
    tree: &Tree,
    revision: &str,
    stop: &Stop,
    most: Duration,
) -> Result<Built<C>, Vec<String>> {
    let answer = build(tree, revision, stop);
    if answer.is_ok() || !stop.is_late() {
        return answer;
    }
    let most = match most.as_secs() {
        seconds if seconds >= 120 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} s"),
    };
    Err(vec![format!(
        "site.yaml:1:1: error: it was not loaded within {most}, and is given up\n  hint: if this computer was busy or its disk slow, \
         `formwork reconcile` tries once more; else look for what is very large in the files that this commit changes"
    )])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::{Census, SiteName};
    use std::sync::Arc;

    #[test]
    fn what_is_not_built_in_time_is_refused_for_that_and_the_time_begins_with_the_work() {
        let build = |_: &Tree, endless: &str, stop: &Stop| {
            while endless == "endless" && !stop.is_asked() {
                std::thread::sleep(Duration::from_millis(1));
            }
            match endless {
                "good" => Ok(Built {
                    catalog: Arc::new(()),
                    census: Census::default(),
                    site: SiteName::default(),
                    warnings: Vec::new(),
                }),
                _ => Err(vec!["a.yaml:1:1: error: found in a part".to_owned()]),
            }
        };
        let most = Duration::from_millis(20);
        let said = |revision: &str| {
            let stop = until_late(most);
            std::thread::sleep(most * 2);
            in_time(&build, &Tree::default(), revision, &stop, most).map(drop)
        };
        assert_eq!(said("good"), Ok(()));
        assert_eq!(said("faulty"), Err(vec!["a.yaml:1:1: error: found in a part".to_owned()]));
        let late = said("endless").expect_err("it never ends");
        assert!(late.len() == 1 && late[0].contains("it was not loaded within 0 s, and is given up"), "{late:?}");
        // Nobody waits any more: that is nobody's fault.
        let stop = until_late(LOAD_MOST);
        stop.ask();
        let left = in_time(&build, &Tree::default(), "endless", &stop, LOAD_MOST).map(drop);
        assert!(left.is_err_and(|findings| findings[0].contains("found in a part")));
    }
}
