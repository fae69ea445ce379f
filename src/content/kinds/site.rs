//! `kind: Site`: the root of a repository (`site.yaml`).

use serde::{Deserialize, Serialize};

/// Where a pack comes from: exactly one of `builtin` and `path`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PackSource {
    /// A pack that comes with the binary.
    pub builtin: Option<String>,
    /// A directory of the repository.
    pub path: Option<String>,
}

/// A site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SiteSpec {
    /// Packs in use.
    pub packs: Vec<PackSource>,
    /// Profiles that every machine has, last in precedence.
    pub global: Vec<String>,
    /// How many machines one commit may wipe without an explicit word. Read from the revision that serves, so that no commit
    /// lifts its own bound.
    pub wipe_guard: WipeGuard,
}

/// The guard against wiping many machines by one commit: it is refused where at least `atLeast` machines, and more than `share`
/// percent of all, would lose what they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WipeGuard {
    /// Percent of the site's machines, 0 to 100; 100 lets every commit through.
    #[schemars(range(min = 0, max = 100))]
    pub share: u32,
    /// Fewer machines than this may always be wiped by one commit.
    pub at_least: u32,
}

impl Default for WipeGuard {
    fn default() -> Self {
        Self { share: 25, at_least: 3 }
    }
}
