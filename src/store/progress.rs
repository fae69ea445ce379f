//! Who waits for work on a whole store is told how far it has come.

/// Told, from the thread that works. Nothing is told to `()`.
pub trait Watch {
    /// A part of the work begins, of so many entries; 0: nobody knows how many.
    fn begins(&self, what: &'static str, total: u64);
    /// So many more of them are done.
    fn more(&self, count: u64);
}

impl Watch for () {
    fn begins(&self, _: &'static str, _: u64) {}

    fn more(&self, _: u64) {}
}
