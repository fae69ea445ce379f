//! `kind: PackTest`: given this machine and these params, a pack's tasks come to these files (`tests/*.yaml` of a pack).

use super::{Architecture, Params, Span};
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::Ipv4Addr;

/// The machine that a test is about. It is declared in no site; the test makes one around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TestMachine {
    /// Its name.
    pub name: String,
    /// MAC addresses.
    pub macs: Vec<String>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Profiles in order, of the pack or among `site`.
    pub profiles: Vec<String>,
    /// Params of its own.
    pub params: Params,
}

impl Default for TestMachine {
    fn default() -> Self {
        Self {
            name: "node-1".to_owned(),
            macs: vec!["52:54:00:00:00:01".to_owned()],
            address: None,
            profiles: Vec::new(),
            params: Params::new(),
        }
    }
}

/// The firmware that asks for a boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TestFirmware {
    /// PC BIOS.
    Bios,
    /// UEFI.
    #[default]
    Uefi,
}

/// What a text must be: the text itself, or rules that all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextRules {
    /// Exactly this.
    pub is: Option<String>,
    /// Exactly what is in this file, beside the test's own.
    pub is_file: Option<String>,
    /// Each of these is in it.
    pub contains: Vec<String>,
    /// None of these is in it.
    pub lacks: Vec<String>,
    /// Each of these regular expressions matches somewhere; `^` and `$` are ends of lines.
    pub matches: Vec<String>,
    /// The mode of the file, octal. For files only.
    pub mode: Option<String>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenRules {
    /// Exactly this.
    is: Option<String>,
    /// Exactly what is in this file, beside the test's own.
    is_file: Option<String>,
    /// Each of these is in it.
    contains: Vec<String>,
    /// None of these is in it.
    lacks: Vec<String>,
    /// Each of these regular expressions matches somewhere; `^` and `$` are ends of lines.
    matches: Vec<String>,
    /// The mode of the file, octal. For files only.
    mode: Option<String>,
}

impl<'de> Deserialize<'de> for TextRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = TextRules;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text, or a map of rules for it")
            }

            fn visit_str<E>(self, text: &str) -> Result<TextRules, E> {
                Ok(TextRules { is: Some(text.to_owned()), ..TextRules::default() })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<TextRules, A::Error> {
                let written = WrittenRules::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let WrittenRules { is, is_file, contains, lacks, matches, mode } = written;
                Ok(TextRules { is, is_file, contains, lacks, matches, mode })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for TextRules {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TextRules".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let rules = generator.subschema_for::<WrittenRules>();
        schemars::json_schema!({ "anyOf": [{"type": "string"}, rules] })
    }
}

/// A finding that the content must give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectedFinding {
    /// Its code, as `formwork validate -o json` shows it.
    pub code: String,
    /// Its message.
    #[serde(default)]
    pub message: TextRules,
}

/// What the firmware must get at the beginning of the stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExpectedBoot {
    /// The environment.
    pub environment: Option<String>,
    /// The kernel's URL.
    pub kernel: TextRules,
    /// The kernel's command line.
    pub arguments: TextRules,
    /// The iPXE script.
    pub script: TextRules,
    /// Files that the boot may ask for, by name.
    pub files: IndexMap<String, TextRules>,
    /// Why it cannot be made.
    pub error: Option<TextRules>,
}

/// What the agent must get for a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExpectedJob {
    /// The boot environment it runs in.
    pub environment: Option<String>,
    /// Whether it has leave to change disks.
    pub destructive: Option<bool>,
    /// When it ends at the latest.
    pub timeout: Option<Span>,
    /// The names of all its steps, in order, without those whose `if:` is false.
    pub steps: Option<Vec<String>>,
    /// The names of the steps whose `if:` is false.
    pub left_out: Option<Vec<String>>,
    /// Variables that its scripts find, such as `FORMWORK_PARAM_INSTALL_DISK`; nothing behind the name: it is not set.
    pub variables: IndexMap<String, Option<TextRules>>,
    /// Files that it writes, by their path on the machine.
    pub files: IndexMap<String, TextRules>,
    /// Scripts, by the name of their step.
    pub scripts: IndexMap<String, TextRules>,
    /// Why it cannot be made.
    pub error: Option<TextRules>,
}

/// What must come of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Expectation {
    /// The content is refused, or warned of, with this.
    pub finding: Option<ExpectedFinding>,
    /// The boot at the beginning of the stage.
    pub boot: Option<ExpectedBoot>,
    /// Jobs by the name of their task.
    pub jobs: IndexMap<String, ExpectedJob>,
}

/// A test of a pack. Exactly one of `stage`, `task` and `workflow` says what is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackTestSpec {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The machine.
    #[serde(default)]
    pub machine: TestMachine,
    /// What its inventory has reported.
    #[serde(default)]
    pub facts: Params,
    /// Documents that a site around the pack would have: profiles, cluster profiles, params, boot environments.
    #[serde(default)]
    pub site: Vec<serde_json::Value>,
    /// The firmware that asks.
    #[serde(default)]
    pub firmware: TestFirmware,
    /// The architecture; `x86_64` where not given.
    #[serde(default)]
    pub architecture: Option<Architecture>,
    /// A stage of the pack: its boot, and all its tasks.
    #[serde(default)]
    pub stage: Option<String>,
    /// One task of the pack, in a stage of its own.
    #[serde(default)]
    pub task: Option<String>,
    /// A workflow of the pack: all its stages.
    #[serde(default)]
    pub workflow: Option<String>,
    /// What must come of it.
    pub expect: Expectation,
}
