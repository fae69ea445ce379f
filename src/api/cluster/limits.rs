//! How much one token may ask: requests a second, waits at a time. In memory; a restart begins anew.

use super::Refused;
use axum::http::StatusCode;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Limits of one token (and of one administrator).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests a second, in the long run.
    pub requests_per_second: f64,
    /// Requests at once.
    pub burst: f64,
    /// Waits and streams at a time.
    pub waits: u32,
    /// Waits and streams of all tokens together.
    pub waits_in_all: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests_per_second: 100.0, burst: 400.0, waits: 64, waits_in_all: 20_000 }
    }
}

/// A token not heard of for so long is forgotten: its bucket is full again by then.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Forgetting is looked at when so many are known.
const FORGET_ABOVE: usize = 4_096;

struct Bucket {
    left: f64,
    at: Instant,
    waits: u32,
}

#[derive(Default)]
struct Known {
    buckets: HashMap<String, Bucket>,
    waits: u32,
}

/// What tokens use.
#[derive(Clone)]
pub(super) struct Usage {
    limits: Limits,
    known: Arc<Mutex<Known>>,
}

/// A wait that counts until it is dropped.
pub(super) struct Waiting {
    usage: Usage,
    token: String,
}

impl Usage {
    pub fn new(limits: Limits) -> Self {
        Self { limits, known: Arc::default() }
    }

    /// Counts one request.
    pub fn request(&self, token: &str) -> Result<(), Refused> {
        self.request_at(token, Instant::now())
    }

    fn request_at(&self, token: &str, now: Instant) -> Result<(), Refused> {
        self.with(token, now, |bucket, _| {
            if bucket.left < 1.0 {
                return Err(Refused::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many-requests",
                    "too many requests by this token",
                )
                .retry_after(1));
            }
            bucket.left -= 1.0;
            Ok(())
        })
    }

    /// Counts one wait, until the result is dropped.
    pub fn wait(&self, token: &str) -> Result<Waiting, Refused> {
        let Limits { waits, waits_in_all, .. } = self.limits;
        self.with(token, Instant::now(), |bucket, all| {
            if bucket.waits >= waits {
                let message = format!("this token waits for {waits} things already");
                return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "too-many-waits", message).retry_after(5));
            }
            if *all >= waits_in_all {
                return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-waits", "too many wait already")
                    .retry_after(5));
            }
            bucket.waits += 1;
            *all += 1;
            Ok(())
        })?;
        Ok(Waiting { usage: self.clone(), token: token.to_owned() })
    }

    fn with<T>(&self, token: &str, now: Instant, change: impl FnOnce(&mut Bucket, &mut u32) -> T) -> T {
        let Limits { requests_per_second, burst, .. } = self.limits;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { buckets, waits } = &mut *known;
        if buckets.len() > FORGET_ABOVE && !buckets.contains_key(token) {
            buckets.retain(|_, bucket| bucket.waits > 0 || now.saturating_duration_since(bucket.at) < FORGET_AFTER);
        }
        let bucket = buckets.entry(token.to_owned()).or_insert(Bucket { left: burst, at: now, waits: 0 });
        let grown = now.saturating_duration_since(bucket.at).as_secs_f64() * requests_per_second;
        bucket.left = (bucket.left + grown).min(burst);
        bucket.at = now;
        change(bucket, waits)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.usage.with(&self.token, Instant::now(), |bucket, all| {
            bucket.waits = bucket.waits.saturating_sub(1);
            *all = all.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, Usage};
    use axum::http::StatusCode;
    use std::time::{Duration, Instant};

    #[test]
    fn a_token_has_a_burst_a_rate_and_so_many_waits() {
        let usage = Usage::new(Limits { requests_per_second: 2.0, burst: 3.0, waits: 2, waits_in_all: 3 });
        let now = Instant::now();
        for _ in 0..3 {
            assert!(usage.request_at("a", now).is_ok());
        }
        assert_eq!(usage.request_at("a", now).expect_err("over").status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(usage.request_at("b", now).is_ok(), "another token has its own");
        assert!(usage.request_at("a", now + Duration::from_millis(600)).is_ok());
        let held = (usage.wait("a").expect("one"), usage.wait("a").expect("two"));
        assert_eq!(usage.wait("a").err().expect("over").status(), StatusCode::TOO_MANY_REQUESTS);
        let third = usage.wait("b").expect("three");
        assert_eq!(usage.wait("c").err().expect("over").status(), StatusCode::SERVICE_UNAVAILABLE);
        drop((held, third));
        assert!(usage.wait("a").is_ok());
    }
}
