//! Revision to catalog to swap; status and its reasons.
