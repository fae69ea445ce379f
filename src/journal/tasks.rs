//! The tasks of a run. Copies share: a state is copied with each event, and a run has many tasks that the event is not about.

use super::run::TaskRecord;
use rpds::RedBlackTreeMapSync as Map;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Tasks by the names of stage and task, sorted by them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tasks(Map<String, Map<String, TaskRecord>>);

impl Tasks {
    /// A task.
    pub fn get(&self, stage: &str, task: &str) -> Option<&TaskRecord> {
        self.0.get(stage)?.get(task)
    }

    /// A task, to be changed.
    pub fn get_mut(&mut self, stage: &str, task: &str) -> Option<&mut TaskRecord> {
        self.0.get_mut(stage)?.get_mut(task)
    }

    /// Puts a task in its place, under the names it has.
    pub fn insert(&mut self, record: TaskRecord) {
        let (stage, task) = (record.stage.clone(), record.task.clone());
        match self.0.get_mut(&stage) {
            Some(tasks) => {
                tasks.insert_mut(task, record);
            }
            None => {
                let mut tasks = Map::new_sync();
                tasks.insert_mut(task, record);
                self.0.insert_mut(stage, tasks);
            }
        }
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &TaskRecord> {
        self.0.values().flat_map(Map::values)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// As a list: each has the names that it goes by.
impl Serialize for Tasks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.values())
    }
}

impl<'de> Deserialize<'de> for Tasks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tasks = Self::default();
        Vec::<TaskRecord>::deserialize(deserializer)?.into_iter().for_each(|record| tasks.insert(record));
        Ok(tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_change_with_its_original() {
        let mut tasks = Tasks::default();
        for (stage, task) in [("b", "1"), ("a", "2"), ("a", "1")] {
            tasks.insert(TaskRecord::new(stage, task));
        }
        let copy = tasks.clone();
        tasks.get_mut("a", "2").expect("it is there").attempts = 7;
        let seen = |tasks: &Tasks| {
            tasks.values().map(|task| (task.stage.clone() + &task.task, task.attempts)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&copy), [("a1".into(), 0), ("a2".into(), 0), ("b1".into(), 0)]);
        assert_eq!(seen(&tasks), [("a1".into(), 0), ("a2".into(), 7), ("b1".into(), 0)]);
        assert!(tasks.get("b", "2").is_none() && tasks.get("c", "1").is_none());
        let text = serde_json::to_string(&tasks).expect("JSON");
        assert_eq!(serde_json::from_str::<Tasks>(&text).expect("tasks"), tasks);
    }
}
