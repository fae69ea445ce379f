//! What is known of boot files that are not what the applied revision declares.

use super::machines::Fleet;
use crate::journal::{Event, Stream};
use crate::store::{Batch, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Fleet {
    /// What is wrong with boot files that the applied revision declares, by path.
    pub fn file_troubles(&self) -> Arc<BTreeMap<String, String>> {
        self.file_troubles.load_full()
    }

    /// Takes in what was found of boot files, and writes down what is new in it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn found_files(&self, troubles: BTreeMap<String, String>) -> Result<(), StoreError> {
        let before = self.file_troubles();
        let wrong = troubles.iter().filter(|(file, reason)| before.get(*file) != Some(reason));
        let wrong = wrong.map(|(file, reason)| Event::FileWrong { file: file.clone(), reason: reason.clone() });
        let right = before.keys().filter(|file| !troubles.contains_key(*file));
        let right = right.map(|file| Event::FileRight { file: file.clone() });
        let events: Vec<_> = wrong.chain(right).map(|event| (Stream::Site, event)).collect();
        if !events.is_empty() {
            self.commit(Batch { expected: Vec::new(), events, operations: Vec::new() }).await?;
        }
        Ok(())
    }

    /// Takes in what the journal says of a boot file: a restart tells nothing a second time.
    pub(super) fn take_in_file(&self, event: &Event) {
        self.file_troubles.rcu(|known| {
            let mut troubles = BTreeMap::clone(known);
            match event {
                Event::FileWrong { file, reason } => drop(troubles.insert(file.clone(), reason.clone())),
                Event::FileRight { file } => drop(troubles.remove(file)),
                _ => return Arc::clone(known),
            }
            Arc::new(troubles)
        });
    }
}
