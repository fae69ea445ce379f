//! How libgit2 reaches a repository: a transport of our own in place of its own two.
//!
//! libgit2's own HTTPS and SSH would be compiled in with OpenSSL and libssh2. Their authorities, time-outs and known hosts are
//! settings of the whole process, not of one source; a read that hangs cannot be cut; what they say may hold the URL. Here HTTPS
//! goes through the client that the rest of the program uses (rustls, one set of authorities a source), SSH through OpenSSH's
//! own `ssh` with host keys checked strictly, and every read counts bytes and looks at the clock. Nothing new is compiled.

use super::https::Https;
use super::job::{Job, Way};
use super::ssh::Ssh;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport, register};
use git2::{Error, ErrorClass, ErrorCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

/// What stands before the number of a job in the address that libgit2 is given.
const SCHEME: &str = "formwork-fetch";

type Jobs = Mutex<HashMap<String, Arc<Job>>>;
static JOBS: LazyLock<Jobs> = LazyLock::new(Jobs::default);
static NEXT: AtomicU64 = AtomicU64::new(1);
static REGISTERED: OnceLock<Result<(), String>> = OnceLock::new();

/// A job's address for libgit2, as long as this lives.
pub(super) struct Address(String);

impl Address {
    /// Makes one.
    ///
    /// # Errors
    /// libgit2 does not take the transport.
    pub(super) fn of(job: &Arc<Job>) -> Result<Self, String> {
        REGISTERED.get_or_init(announce).clone()?;
        let address = format!("{SCHEME}://{}/", NEXT.fetch_add(1, Ordering::Relaxed));
        JOBS.lock().unwrap_or_else(PoisonError::into_inner).insert(address.clone(), Arc::clone(job));
        Ok(Self(address))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        JOBS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

#[expect(
    unsafe_code,
    reason = "libgit2 takes a transport by a function that must not run beside itself; the lock sees to that"
)]
fn announce() -> Result<(), String> {
    let make = |remote: &git2::Remote<'_>| {
        let gone = || Error::new(ErrorCode::NotFound, ErrorClass::Net, "no such fetch");
        let address = remote.url().map_err(|_| gone())?.to_owned();
        let job = JOBS.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned().ok_or_else(gone)?;
        // HTTP forgets between two questions; a process does not.
        let forgets = matches!(job.way, Way::Https { .. });
        Transport::smart(remote, forgets, Sub { job })
    };
    // SAFETY: called once in a process, under the lock of `REGISTERED`, and nothing else registers transports.
    unsafe { register(SCHEME, make) }.map_err(|error| error.message().to_owned())
}

struct Sub {
    job: Arc<Job>,
}

impl SmartSubtransport for Sub {
    fn action(&self, _: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, Error> {
        let failed = |_| Error::new(ErrorCode::GenericError, ErrorClass::Net, "the fetch failed");
        match (&self.job.way, action) {
            (_, Service::ReceivePackLs | Service::ReceivePack) => {
                Err(Error::new(ErrorCode::GenericError, ErrorClass::Net, "nothing is ever pushed"))
            }
            (Way::Https { .. }, Service::UploadPackLs) => Ok(Box::new(Https::advertisement(&self.job))),
            (Way::Https { .. }, Service::UploadPack) => Ok(Box::new(Https::question(&self.job))),
            (Way::Ssh { .. }, _) => Ok(Box::new(Ssh::start(&self.job).map_err(failed)?)),
        }
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
