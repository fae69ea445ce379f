//! Who may say what the machines become, and what is secret in Git: with the real `git`, `ssh-keygen`, `gpg`, `age` and `sops`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

#[path = "../bed/mod.rs"]
mod bed;
mod pushed;
mod repository;
mod secrets;
mod served;
mod several;
mod signatures;
mod site;
