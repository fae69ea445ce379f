//! What is said while a store elsewhere does not answer at the start: soon, and with what a person can look at, who waits in front of it.

use std::time::Duration;

/// A store that said nothing for so long is spoken of. One that answers does so sooner.
const SOON: Duration = Duration::from_secs(3);

/// Where a store is asked, in the words of whoever runs the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its address and namespace.
    pub(super) at: String,
    /// What says so: a file or the pod.
    pub(super) told_by: String,
    /// The command that says what is wrong.
    pub(super) doctor: String,
}

impl Asked {
    /// The first word about a store that does not answer: `why` has the address, and is none while it said nothing at all.
    fn words(&self, why: Option<&str>, longest: Duration) -> String {
        let Self { at, told_by, doctor } = self;
        let (seconds, silent) = (longest.as_secs(), format!("{at}: no answer yet"));
        let why = why.unwrap_or(&silent);
        format!(
            "nothing is served before the store answers, which is asked again for {seconds} s: {why}. That address is from {told_by}; \
             `{doctor}` says whether it answers and which rights are missing"
        )
    }

    /// Says that, on a thread that does not open the store, unless [`Silence`] is dropped before.
    pub(super) fn silence(&self, longest: Duration) -> Silence {
        let asked = self.clone();
        Silence(tokio::spawn(async move {
            tokio::time::sleep(SOON).await;
            tracing::warn!("{}", asked.words(None, longest));
        }))
    }

    /// Says that it answered with what is no store, or was not reached.
    pub(super) fn say(&self, why: &str, longest: Duration) {
        tracing::warn!("{}", self.words(Some(why), longest));
    }
}

/// A store that said nothing so far.
pub(super) struct Silence(tokio::task::JoinHandle<()>);

impl Drop for Silence {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What says where the API server is, as the client looks for it: `KUBECONFIG`, the user's own file, or the pod.
pub(super) fn told_by(kubeconfig: Option<&str>, of_the_user: bool) -> String {
    match kubeconfig {
        Some(files) if !files.is_empty() => format!("KUBECONFIG={files}"),
        _ if of_the_user => "~/.kube/config".to_owned(),
        _ => "the pod's service account".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_has_the_address_who_says_so_and_what_to_try() {
        let doctor = "formwork doctor --store kubernetes --store-namespace lab".to_owned();
        let at = "https://10.0.0.1:6443, namespace lab".to_owned();
        for (kubeconfig, of_the_user, from) in [
            (Some("/etc/kube.conf"), true, "KUBECONFIG=/etc/kube.conf"),
            (Some(""), true, "~/.kube/config"),
            (None, true, "~/.kube/config"),
            (None, false, "the pod's service account"),
        ] {
            let asked = Asked { at: at.clone(), told_by: told_by(kubeconfig, of_the_user), doctor: doctor.clone() };
            for (why, seen) in [
                (None, "asked again for 60 s: https://10.0.0.1:6443, namespace lab: no answer yet. "),
                (
                    Some("https://10.0.0.1:6443, namespace lab: refused"),
                    "asked again for 60 s: https://10.0.0.1:6443, namespace lab: refused. ",
                ),
            ] {
                let words = asked.words(why, Duration::from_secs(60));
                assert!(words.contains(seen), "{words}");
                assert!(words.contains(&format!("is from {from}; `{doctor}` says")), "{words}");
            }
        }
    }
}
