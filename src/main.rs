//! `formwork`: the boot server and the command line that people use.

use std::sync::atomic::{AtomicBool, Ordering};

/// Standard output was closed when the process began.
static NO_STDOUT: AtomicBool = AtomicBool::new(false);

/// Looks before Rust's own start, which opens `/dev/null` in the place of what is closed: after it nobody can tell.
#[expect(
    unsafe_code,
    reason = "the C library calls what stands in this section before anything of Rust begins, with nothing to hold to"
)]
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = {
    extern "C" fn look() {
        // SAFETY: the number is asked about and nothing else; where no file has it, the system says so.
        let stdout = unsafe { std::os::fd::BorrowedFd::borrow_raw(1) };
        let closed = matches!(rustix::io::fcntl_getfd(stdout), Err(rustix::io::Errno::BADF));
        NO_STDOUT.store(closed, Ordering::Relaxed);
    }
    look
};

fn main() -> std::process::ExitCode {
    formwork::cli::main(NO_STDOUT.load(Ordering::Relaxed))
}
