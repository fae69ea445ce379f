//! `kind: Site`: the root of a repository (`site.yaml`).

use serde::{Deserialize, Serialize};

/// Where a pack comes from: exactly one of `builtin`, `path` and `git`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PackSource {
    /// A pack that comes with the binary.
    pub builtin: Option<String>,
    /// A directory of the repository; with `git`: of that repository, where the pack is not at its root.
    pub path: Option<String>,
    /// Another repository: `https://…`, `ssh://…`, `git@host:path`, `file:///…` or a path from the root of the disk. `packs.lock`
    /// pins its commit and files. With it goes exactly one of `commit`, `tag`, `branch` and `version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// This commit, all its digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The commit of this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The newest commit of this branch when the lock is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The highest version in this range among the tags (`v1.2.3` or `1.2.3`) when the lock is written: `^1.2`, `>=1.2, <2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The pack's name, where the last word of its path or address is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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
    /// lifts its own bound. A push to this server that loosens it needs the right and the word to wipe.
    pub wipe_guard: WipeGuard,
    /// How many machines may leave Git by one commit without an explicit word. Read from the revision that serves, too; a push to
    /// this server that loosens it needs the right and the word to let machines leave.
    pub leave_guard: LeaveGuard,
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

/// The guard against many machines leaving Git by one commit: it is refused where at least `atLeast` machines, and more than
/// `share` percent of those that the serving revision has, would be gone. Of each source that is mounted the same is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaveGuard {
    /// Percent of the site's machines, 0 to 100; 100 lets every commit through.
    #[schemars(range(min = 0, max = 100))]
    pub share: u32,
    /// Fewer machines than this may always leave by one commit.
    pub at_least: u32,
}

impl Default for LeaveGuard {
    fn default() -> Self {
        Self { share: 25, at_least: 3 }
    }
}

impl LeaveGuard {
    /// Whether so many that leave, of so many, need a word.
    pub fn asks(self, leaving: usize, of: usize) -> bool {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let few = leaving < number(self.at_least);
        leaving > 0 && !few && leaving.saturating_mul(100) > number(self.share).saturating_mul(of)
    }
}
