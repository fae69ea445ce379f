//! The words after `formwork agent disk`.

use super::device::Device;
use super::image::{Download, unpack};
use super::{DiskError, gpt, write_image, zero};
use crate::agent::layout::write_atomically;
use crate::agent::socket::client::{ask, complain, show};
use crate::agent::socket::exit;
use crate::agent::socket::words::Words;
use crate::wire::{BootFile, DestructiveGrant};
use serde::Deserialize;
use std::path::Path;
use std::process::{Command, Stdio};

/// The job, as the agent tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    destructive: Option<DestructiveGrant>,
    ca_certificate: String,
}

/// Does it, and gives the exit code.
pub fn main(words: &[String]) -> i32 {
    let words = match Words::parse(words, &["url", "sha256", "to"]) {
        Ok(words) => words,
        Err(message) => {
            complain(&message);
            return exit::MISUSED;
        }
    };
    let result = match words.optional_place(0) {
        Some("inspect") => inspect(&words),
        Some("claim") => claim(&words),
        Some("zero") => zero_disk(&words),
        Some("write-image") => write(&words),
        Some("ticket") => ticket(&words),
        _ => Err("`disk` wants inspect, claim, zero, write-image or ticket; see formwork agent help".to_owned()),
    };
    match result {
        Ok(code) => code,
        Err(message) => complain(&message),
    }
}

fn text(error: DiskError) -> String {
    error.to_string()
}

/// A line in the log, at once.
fn say(line: &str) {
    crate::agent::print_out(&format!("{line}\n"));
}

fn job() -> Result<Job, String> {
    let answer = ask(&["job".to_owned()], None)?;
    if answer.exit_code != 0 {
        return Err(answer.error);
    }
    serde_json::from_str(&answer.output).map_err(|error| format!("the agent's answer cannot be read: {error}"))
}

/// The job's leave to change disks.
fn leave(job: &Job) -> Result<&DestructiveGrant, String> {
    job.destructive.as_ref().ok_or_else(|| {
        "this job may not change disks: its stage is not declared `destructive: true`, or the machine is protected"
            .into()
    })
}

fn inspect(words: &Words) -> Result<i32, String> {
    let device = Device::open_to_read(words.place(1, "the disk")?).map_err(text)?;
    let state = device.state().map_err(text)?;
    say(&serde_json::to_string(&state).map_err(|error| error.to_string())?);
    Ok(0)
}

fn claim(words: &Words) -> Result<i32, String> {
    let job = job()?;
    let device = Device::open_to_write(words.place(1, "the disk")?).map_err(text)?;
    let grant = leave(&job)?;
    device.claim(grant).map_err(text)?;
    say(&format!("{} is marked as {}'s of run {}", device.path, grant.machine, grant.run));
    Ok(0)
}

fn zero_disk(words: &Words) -> Result<i32, String> {
    let job = job()?;
    let device = Device::open_to_write(words.place(1, "the disk")?).map_err(text)?;
    device.require_claim(leave(&job)?).map_err(text)?;
    zero::zero(&device, &say).map_err(text)?;
    let path = device.path.clone();
    drop(device);
    reread_partitions(&path);
    Ok(0)
}

fn write(words: &Words) -> Result<i32, String> {
    let url = words.option("url").ok_or("--url is missing")?;
    let wanted = words.option("sha256").ok_or("--sha256 is missing: an image without a checksum is not written")?;
    if wanted.len() != 64 || !wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("--sha256 is no SHA-256 in hexadecimal".into());
    }
    let job = job()?;
    let device = Device::open_to_write(words.place(1, "the disk")?).map_err(text)?;
    device.require_claim(leave(&job)?).map_err(text)?;
    let mut download = Download::new(url, &job.ca_certificate).map_err(text)?;
    let written = {
        let broken = |error: std::io::Error| format!("the image: {error}");
        let mut image = unpack(&mut download).map_err(broken)?;
        let written = write_image::write(&device, &mut image, &say).map_err(text)?;
        // What follows the last frame belongs to the checksum as well.
        std::io::copy(&mut image, &mut std::io::sink()).map_err(broken)?;
        written
    };
    let received = download.received();
    let checksum = download.checksum();
    if !checksum.eq_ignore_ascii_case(wanted) {
        return Err(format!(
            "the image at {url} has the SHA-256 {checksum}, wanted is {wanted} ({received} bytes came)"
        ));
    }
    write_image::verify(&device, &written, &say).map_err(text)?;
    match gpt::fit(&device).map_err(text)? {
        gpt::Fitted::Moved => say("the backup partition table is at the disk's end"),
        gpt::Fitted::NoTable => say("the image has no GPT: nothing to fit"),
    }
    device.require_claim(leave(&job)?).map_err(text)?; // the marker is where it was
    let path = device.path.clone();
    drop(device);
    reread_partitions(&path);
    Ok(0)
}

/// Tells the kernel to look at the partition table anew, by whichever program is here: the call itself has no safe wrapper.
fn reread_partitions(path: &str) {
    if !std::fs::metadata(path).is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_block_device(&m.file_type())) {
        return;
    }
    for (program, arguments) in [("blockdev", ["--rereadpt", path]), ("partx", ["--update", path])] {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return;
        }
    }
    say("the kernel was not told of the new partitions (neither blockdev nor partx did it)");
}

fn ticket(words: &Words) -> Result<i32, String> {
    let to = words.option("to").ok_or("--to FILE is missing")?;
    let answer = ask(&["disk-ticket".to_owned()], None)?;
    if answer.exit_code != 0 {
        return Ok(show(&answer));
    }
    // Read before it is planted: half a ticket would leave a system that never comes back.
    let _: BootFile =
        serde_json::from_str(&answer.output).map_err(|error| format!("the ticket cannot be read: {error}"))?;
    write_atomically(Path::new(to), answer.output.as_bytes(), 0o600).map_err(|error| format!("{to}: {error}"))?;
    say(&format!("the ticket for the installed system is at {to}"));
    Ok(0)
}
