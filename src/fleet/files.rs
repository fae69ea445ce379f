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
            self.file_troubles.store(Arc::new(troubles));
        }
        Ok(())
    }
}
