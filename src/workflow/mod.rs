//! What a machine does next: one pure function.
