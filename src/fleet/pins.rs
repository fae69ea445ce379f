//! The revisions of open runs stay in this server's mirror, also of runs that other servers on the store began.

use super::machines::Fleet;
use std::collections::BTreeMap;

/// A machine, and the number of its run.
type Run = (String, u64);

/// Revisions of runs.
pub type Pins = BTreeMap<Run, String>;

/// What is to be kept and is not yet, and what need not be kept any more.
fn changes(kept: &Pins, open: &Pins) -> (Pins, Vec<Run>) {
    let lacking = open.iter().filter(|(run, revision)| kept.get(*run) != Some(*revision));
    let over = kept.keys().filter(|run| !open.contains_key(*run));
    (lacking.map(|(run, revision)| (run.clone(), revision.clone())).collect(), over.cloned().collect())
}

impl Fleet {
    /// Keeps the revisions of all open runs in the mirror, and lets go of those of runs that ended since. `kept`: what this has done so
    /// far. What is not there yet is tried the next time.
    pub async fn keep_pins(&self, kept: &mut Pins) {
        let open = self.all().into_iter().filter_map(|entry| {
            let state = entry.state();
            let run = state.run.as_ref().filter(|run| run.is_open())?;
            Some(((entry.name.clone(), run.number), run.revision.clone()))
        });
        let (lacking, over) = changes(kept, &open.collect());
        for ((machine, run), revision) in lacking {
            match self.reconciler.pin(&machine, run, &revision).await {
                Ok(()) => drop(kept.insert((machine, run), revision)),
                Err(error) => {
                    tracing::debug!(machine, revision, %error, "the revision of a run is not in the mirror yet");
                }
            }
        }
        for over in over {
            if self.reconciler.unpin(&over.0, over.1).await.is_ok() {
                kept.remove(&over);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_of_each_open_run_is_kept_and_of_no_other() {
        let pins = |runs: &[(&str, u64, &str)]| -> Pins {
            runs.iter()
                .map(|(machine, run, revision)| (((*machine).to_owned(), *run), (*revision).to_owned()))
                .collect()
        };
        for (what, kept, open, lacking, over) in [
            ("nothing is new", &[("a", 1, "r")][..], &[("a", 1, "r")][..], &[][..], &[][..]),
            ("one begins", &[], &[("a", 1, "r")], &[("a", 1)], &[]),
            ("one ends", &[("a", 1, "r"), ("b", 1, "r")], &[("b", 1, "r")], &[], &[("a", 1)]),
            ("one takes the place of another", &[("a", 1, "r")], &[("a", 2, "s")], &[("a", 2)], &[("a", 1)]),
            ("one goes on with a fix", &[("a", 1, "r")], &[("a", 1, "s")], &[("a", 1)], &[]),
        ] {
            let (kept, open) = (pins(kept), pins(open));
            let (found_lacking, found_over) = changes(&kept, &open);
            let named = |runs: &[(&str, u64)]| -> Vec<(String, u64)> {
                runs.iter().map(|(machine, run)| ((*machine).to_owned(), *run)).collect()
            };
            let found: Vec<_> = found_lacking.into_keys().collect();
            assert_eq!((found, found_over), (named(lacking), named(over)), "{what}");
        }
    }
}
