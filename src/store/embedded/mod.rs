//! The embedded engine: redb, one writer thread, group commit.
