//! A revision compiled: references, indexes, templates checked. Immutable.
