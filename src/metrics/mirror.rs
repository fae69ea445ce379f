//! The mirror in Kubernetes, as the server that leads sees it: how far it is behind.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The kinds of objects in it.
const KINDS: [&str; 2] = ["Machine", "ClusterProfile"];

type OfKind = Family<[(&'static str, &'static str); 1], Gauge>;

/// The mirror.
#[derive(Debug, Clone)]
pub struct Mirror {
    backlog: OfKind,
    refused: OfKind,
}

impl Default for Mirror {
    fn default() -> Self {
        let mirror = Self { backlog: OfKind::default(), refused: OfKind::default() };
        mirror.idle();
        mirror
    }
}

impl Mirror {
    /// So many objects of a kind are not as they should be, and so many of them are refused.
    pub fn waiting(&self, kind: &str, backlog: usize, refused: usize) {
        let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else { return };
        for (family, count) in [(&self.backlog, backlog), (&self.refused, refused)] {
            family.get_or_create(&[("kind", kind)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Another server writes it, or nobody does.
    pub fn idle(&self) {
        for kind in KINDS {
            self.waiting(kind, 0, 0);
        }
    }

    pub(super) fn register(&self, to: &mut Registry) {
        let help =
            "Objects of the mirror in Kubernetes that are not yet as they should be; 0 where another server writes it";
        to.register("mirror_backlog", help, self.backlog.clone());
        let help = "Objects of the mirror that the Kubernetes API refuses, and that are tried again ever more seldom";
        to.register("mirror_refused", help, self.refused.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told_by_kind_and_nothing_by_who_does_not_write() {
        let mirror = Mirror::default();
        let now = |of: &OfKind| KINDS.map(|kind| of.get_or_create(&[("kind", kind)]).get());
        mirror.waiting("Machine", 7, 2);
        mirror.waiting("Nobody", 9, 9);
        assert_eq!((now(&mirror.backlog), now(&mirror.refused)), ([7, 0], [2, 0]));
        mirror.idle();
        assert_eq!((now(&mirror.backlog), now(&mirror.refused)), ([0, 0], [0, 0]));
    }
}
