//! A site that follows a repository, as its users have it: a real bare repository, real `git` clients, the real server as a process.
//!
//! `complaints` has one test for each row of what users of other reconcilers complain of, named after the complaint. `faults` has what
//! breaks: disks, processes, repositories. `words` has what people say: suspend, roll back, resume, reconcile.
//!
//! No test depends on speed: what is waited for has minutes; how long it took is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is how a test fails")]

#[path = "../bed/mod.rs"]
mod bed;
mod complaints;
mod faults;
mod site;
mod words;
