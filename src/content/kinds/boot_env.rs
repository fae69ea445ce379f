//! `kind: BootEnv`: an OS environment to boot.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A processor architecture, in the kernel's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Architecture {
    /// The word in content and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// As text, not as a choice: it is the key of a map, and only of a key that is read as text is it known to a finding which one it was.
impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = [Self::X86_64, Self::Aarch64].into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| serde::de::Error::unknown_variant(&text, &["x86_64", "aarch64"]))
    }
}

/// Who ends a boot of this environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EndsBy {
    /// The agent inside.
    #[default]
    Agent,
    /// An installer that calls back and reboots by itself.
    Callback,
    /// Nobody: it is the installed system (`local`).
    Nothing,
}

/// A file to boot: exactly one of `file` and `url`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FileSource {
    /// A path in the server's image folder.
    pub file: Option<String>,
    /// A URL that the firmware fetches itself; needs `sha256`.
    pub url: Option<String>,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: Option<String>,
}

/// What one architecture boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArchitectureSpec {
    /// The kernel.
    pub kernel: FileSource,
    /// Initial RAM disks, in order; the boot's overlay comes last.
    #[serde(default)]
    pub initrds: Vec<FileSource>,
    /// The kernel command line, a minijinja template over `params`, `machine`, `server`.
    #[serde(default)]
    pub arguments: String,
}

/// A boot environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BootEnvSpec {
    /// For people.
    pub description: String,
    /// Who ends a boot of it.
    pub ends_by: EndsBy,
    /// By architecture. Empty for an environment that ends by nothing.
    pub architectures: BTreeMap<Architecture, ArchitectureSpec>,
    /// Files served to this environment's boots by name: Template names (installer answers and the like).
    pub templates: Vec<String>,
}
