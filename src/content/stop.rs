//! A word between whoever wants work done and whoever does it: it is not wanted any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether work is still wanted. Who does it looks now and then, and leaves off.
#[derive(Clone, Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    /// Whether it takes too long, which whoever wants it knows.
    late: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Stop {
    /// It is not wanted any more once this says that it takes too long.
    pub fn when_late(late: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { late: Some(Arc::new(late)), ..Self::default() }
    }

    /// It is wanted no more.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether that was said, or it takes too long.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || self.is_late()
    }

    /// Whether it takes too long.
    pub fn is_late(&self) -> bool {
        self.late.as_ref().is_some_and(|late| late())
    }

    /// Says so when this is dropped: when nobody waits for the work any more.
    pub fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// Says that work is wanted no more, when it is dropped.
#[derive(Debug)]
pub struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.ask();
    }
}
