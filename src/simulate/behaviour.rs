//! How a simulated machine behaves in a task. Scripts are never run: a task takes a time, prints lines and ends as chance has it,
//! and what it says to its cluster profile is what content says by the param `simulation`.
//!
//! ```yaml
//! simulation:
//!   etcd-join:                        # a task's name
//!     seconds: 2..4
//!     cluster:
//!       - {elect: init, publish: {join-command: token}, leadSeconds: 1}
//!       - {barrier: ready, count: all}
//! ```

use super::dice::Seconds;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The param that says how tasks behave in a simulation.
pub const PARAM: &str = "simulation";

/// One task's behaviour.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behaviour {
    /// How long it takes; the command line's where not given.
    pub seconds: Option<Seconds>,
    /// How likely it fails, `0.0..=1.0`; the command line's where not given.
    pub fail: Option<f64>,
    /// What it says to its cluster profile, in order, in the middle of its time.
    pub cluster: Vec<Step>,
}

/// One word with the cluster profile.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", untagged, deny_unknown_fields)]
pub enum Step {
    /// Asks for a claim; the leader works for a time and publishes, followers wait for what it publishes.
    #[serde(rename_all = "camelCase")]
    Elect {
        /// The claim.
        elect: String,
        /// Keys and values that the leader publishes.
        #[serde(default)]
        publish: Map<String, Value>,
        /// How long the leader works before.
        #[serde(default)]
        lead_seconds: Option<Seconds>,
        /// The claim's lifetime, seconds.
        #[serde(default = "fifteen_minutes")]
        ttl_seconds: u64,
    },
    /// Joins a set.
    Join {
        /// The set.
        join: String,
    },
    /// Joins a set and waits until so many are in it.
    Barrier {
        /// The set.
        barrier: String,
        /// `all` or a number.
        #[serde(default)]
        count: Option<Value>,
    },
    /// Writes a key, whatever was there.
    Put {
        /// The key; `{machine}` in it becomes the machine's name.
        put: String,
        /// The value.
        value: Value,
    },
    /// Waits for a key.
    Get {
        /// The key.
        get: String,
    },
}

const fn fifteen_minutes() -> u64 {
    900
}

impl Behaviour {
    /// The behaviour that a job's params give its task.
    ///
    /// # Errors
    /// What is wrong with the param, for the job's message.
    pub fn of(params: &Map<String, Value>, task: &str) -> Result<Self, String> {
        let Some(tasks) = params.get(PARAM).and_then(Value::as_object) else { return Ok(Self::default()) };
        // A task of a pack is known by its qualified name; people may write the short one.
        let short = task.rsplit('.').next().unwrap_or(task);
        let Some(value) = tasks.get(task).or_else(|| tasks.get(short)) else { return Ok(Self::default()) };
        Self::deserialize(value).map_err(|error| format!("param {PARAM}, task {task}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: Value) -> Map<String, Value> {
        let mut params = Map::new();
        params.insert(PARAM.to_owned(), value);
        params
    }

    #[test]
    fn a_task_behaves_as_the_param_says_by_its_short_or_its_whole_name() {
        let steps = serde_json::json!([
            {"elect": "init", "publish": {"k": "v"}, "leadSeconds": "1..2"},
            {"join": "members"},
            {"barrier": "ready", "count": "all"},
            {"elect": "again", "leadSeconds": 0.5},
            {"put": "hosts/{machine}", "value": 1},
            {"get": "k"},
        ]);
        let given = params(serde_json::json!({"join": {"seconds": "2..4", "fail": 0.1, "cluster": steps}}));
        for task in ["join", "etcd.join"] {
            let behaviour = Behaviour::of(&given, task).unwrap();
            assert_eq!((behaviour.cluster.len(), behaviour.fail), (6, Some(0.1)));
            assert!(matches!(&behaviour.cluster[2], Step::Barrier { barrier, .. } if barrier == "ready"));
        }
        assert_eq!(Behaviour::of(&given, "other").unwrap(), Behaviour::default());
        assert_eq!(Behaviour::of(&Map::new(), "join").unwrap(), Behaviour::default());
    }

    #[test]
    fn a_behaviour_that_cannot_be_meant_is_said_to_be_wrong() {
        for wrong in [
            serde_json::json!({"join": {"second": "1"}}),
            serde_json::json!({"join": {"seconds": "fast"}}),
            serde_json::json!({"join": {"cluster": [{"elect": "a", "leadSeconds": "2..1"}]}}),
            serde_json::json!({"join": {"cluster": [{"dance": true}]}}),
        ] {
            let error = Behaviour::of(&params(wrong), "join").unwrap_err();
            assert!(error.starts_with("param simulation, task join: "), "{error}");
        }
    }
}
