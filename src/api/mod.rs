//! HTTP routes for machines, administrators and events. Thin.
