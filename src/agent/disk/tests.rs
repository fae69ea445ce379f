//! The disk commands on files that stand for disks, with partition tables and filesystems made by the tools that make them.

use super::device::Device;
use super::{DiskError, gpt, image, write_image, zero};
use crate::wire::{DestructiveGrant, DiskState};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;

fn disk(dir: &tempfile::TempDir, name: &str, bytes: u64) -> String {
    let path = dir.path().join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn tool(program: &str, arguments: &[&str], input: &str) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed by this test (packages fdisk, e2fsprogs, zstd): {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {arguments:?}");
}

fn output(program: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn grant(run: u64, wipe: bool) -> DestructiveGrant {
    DestructiveGrant { site: "lab".into(), machine: "node-1".into(), run, begun_unix_ms: Some(7), wipe }
}

fn state(path: &str) -> DiskState {
    Device::open_to_read(path).unwrap().state().unwrap()
}

fn quiet(_: &str) {}

/// A mebibyte of bytes that do not repeat within it.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..MIB / 8)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.rotate_left(17).to_le_bytes()
        })
        .collect()
}

#[test]
fn what_the_tools_make_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let blank = disk(&dir, "blank", 64 * MIB);
    assert_eq!(state(&blank), DiskState::Blank);
    let gpt = disk(&dir, "gpt", 64 * MIB);
    tool("sfdisk", &["--quiet", &gpt], "label: gpt\n,\n");
    assert_eq!(state(&gpt), DiskState::Unknown { found: vec!["gpt".into(), "mbr".into(), "gpt-backup".into()] });
    let mbr = disk(&dir, "mbr", 64 * MIB);
    tool("sfdisk", &["--quiet", &mbr], "label: dos\n,\n");
    assert_eq!(state(&mbr), DiskState::Unknown { found: vec!["mbr".into()] });
    let ext4 = disk(&dir, "ext4", 64 * MIB);
    tool("mkfs.ext4", &["-q", "-F", &ext4], "");
    assert_eq!(state(&ext4), DiskState::Unknown { found: vec!["ext".into()] });
    let swap = disk(&dir, "swap", 64 * MIB);
    tool("mkswap", &[&swap], "");
    assert_eq!(state(&swap), DiskState::Unknown { found: vec!["swap".into()] });
}

#[test]
fn a_claim_marks_a_blank_disk_and_refuses_one_that_holds_something() {
    let dir = tempfile::tempdir().unwrap();
    let blank = disk(&dir, "blank", 64 * MIB);
    let device = Device::open_to_write(&blank).unwrap();
    assert!(matches!(device.require_claim(&grant(2, true)), Err(DiskError::NotClaimed(_))));
    device.claim(&grant(2, false)).unwrap();
    assert_eq!(
        state(&blank),
        DiskState::Marked { site: "lab".into(), machine: "node-1".into(), run: 2, begun_unix_ms: Some(7) }
    );
    device.require_claim(&grant(2, false)).unwrap();
    assert!(matches!(device.require_claim(&grant(3, false)), Err(DiskError::NotClaimed(_))));
    assert!(matches!(device.claim(&grant(1, false)), Err(DiskError::Refused { .. })));
    device.claim(&grant(3, false)).unwrap();

    let used = disk(&dir, "used", 64 * MIB);
    tool("mkfs.ext4", &["-q", "-F", &used], "");
    let before = std::fs::read(&used).unwrap();
    let device = Device::open_to_write(&used).unwrap();
    assert!(matches!(device.claim(&grant(1, false)), Err(DiskError::Refused { .. })));
    assert!(std::fs::read(&used).unwrap() == before, "a refused disk is not touched");
    device.claim(&grant(1, true)).unwrap();
    assert_eq!(
        state(&used),
        DiskState::Marked { site: "lab".into(), machine: "node-1".into(), run: 1, begun_unix_ms: Some(7) }
    );
}

#[test]
fn zeroing_leaves_nothing_but_the_marker() {
    let dir = tempfile::tempdir().unwrap();
    let path = disk(&dir, "disk", 8 * MIB + 512);
    let device = Device::open_to_write(&path).unwrap();
    for block in 0..8 {
        device.write_at(block * MIB, &noise(block)).unwrap();
    }
    device.claim(&grant(1, true)).unwrap();
    zero::zero(&device, &quiet).unwrap();
    let marker = usize::try_from(device.marker_offset).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes[..marker].iter().all(|b| *b == 0));
    assert!(bytes[marker + 512..].iter().all(|b| *b == 0));
    device.require_claim(&grant(1, false)).unwrap();
}

#[test]
fn an_image_is_written_read_back_and_fitted_and_the_marker_stays() {
    let dir = tempfile::tempdir().unwrap();
    let source = disk(&dir, "image", 24 * MIB);
    tool(
        "sfdisk",
        &["--quiet", &source],
        "label: gpt\nstart=2048, size=8192, name=boot\nstart=16384, size=8192, name=root\n",
    );
    let image_file = File::options().write(true).open(&source).unwrap();
    image_file.write_all_at(&noise(7), 9 * MIB).unwrap();
    let packed = format!("{source}.zst");
    tool("zstd", &["-q", "-19", &source, "-o", &packed], "");

    let target = disk(&dir, "target", 64 * MIB);
    let device = Device::open_to_write(&target).unwrap();
    for block in 0..60 {
        device.write_at(block * MIB, &noise(block + 100)).unwrap(); // what was there before must not shine through
    }
    device.claim(&grant(1, true)).unwrap();
    let mut file = File::open(&packed).unwrap();
    let mut image = image::unpack(&mut file).unwrap();
    let written = write_image::write(&device, &mut image, &quiet).unwrap();
    write_image::verify(&device, &written, &quiet).unwrap();
    assert!(std::fs::read(&target).unwrap()[..24 << 20] == std::fs::read(&source).unwrap()[..]);
    assert_eq!(gpt::fit(&device).unwrap(), gpt::Fitted::Moved);
    device.require_claim(&grant(1, false)).unwrap();
    drop(device);

    let dump = output("sfdisk", &["--dump", &target]);
    assert!(dump.contains(&format!("last-lba: {}", (64 * MIB / 512) - 35)), "{dump}");
    assert!(dump.contains("name=\"boot\"") && dump.contains("name=\"root\""), "{dump}");
    let verdict = output("sfdisk", &["--verify", &target]);
    assert!(verdict.contains("No errors detected"), "{verdict}");
    // The backup alone is a whole table: without the primary, sfdisk reads the same partitions.
    let file = File::options().write(true).open(&target).unwrap();
    file.write_all_at(&[0; 512], 512).unwrap();
    let from_backup = output("sfdisk", &["--dump", &target]);
    assert!(from_backup.contains("name=\"root\""), "{from_backup}");
    // And what is grown to the end by a tool leaves the marker alone.
    tool("sfdisk", &["--quiet", "--no-reread", "-N", "2", &target], ", +\n");
    Device::open_to_write(&target).unwrap().require_claim(&grant(1, false)).unwrap();
}

#[test]
fn an_image_as_large_as_the_disk_keeps_the_marker_and_one_larger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = disk(&dir, "target", 16 * MIB);
    let device = Device::open_to_write(&target).unwrap();
    device.claim(&grant(1, false)).unwrap();
    let same = disk(&dir, "same", 16 * MIB);
    tool("sfdisk", &["--quiet", &same], "label: gpt\nstart=2048, size=8192\n");
    let written = write_image::write(&device, &mut File::open(&same).unwrap(), &quiet).unwrap();
    write_image::verify(&device, &written, &quiet).unwrap();
    assert_eq!(gpt::fit(&device).unwrap(), gpt::Fitted::Moved);
    device.require_claim(&grant(1, false)).unwrap();
    let larger = disk(&dir, "larger", 17 * MIB);
    assert!(matches!(
        write_image::write(&device, &mut File::open(&larger).unwrap(), &quiet),
        Err(DiskError::TooLarge { .. })
    ));
}

#[test]
fn a_partition_over_the_marker_is_refused_and_a_damaged_table_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = disk(&dir, "disk", 16 * MIB);
    let last_usable = 16 * MIB / 512 - 34;
    tool("sfdisk", &["--quiet", &path], &format!("label: gpt\nstart=2048, size={}\n", last_usable - 2048 + 1));
    let device = Device::open_to_write(&path).unwrap();
    assert!(matches!(gpt::fit(&device), Err(DiskError::Gpt(reason)) if reason.contains("reaches over")));
    device.write_at(1024, &[1]).unwrap();
    assert!(matches!(gpt::fit(&device), Err(DiskError::Gpt(reason)) if reason.contains("entries are damaged")));
    device.write_at(512 + 56, &[1, 2, 3]).unwrap();
    assert!(matches!(gpt::fit(&device), Err(DiskError::Gpt(reason)) if reason.contains("header is damaged")));
    device.write_at(512, &[0]).unwrap();
    assert_eq!(gpt::fit(&device).unwrap(), gpt::Fitted::NoTable);
}

#[test]
fn a_disk_that_gives_back_something_else_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = disk(&dir, "disk", 16 * MIB);
    let device = Device::open_to_write(&path).unwrap();
    let mut content = noise(1);
    content.extend(noise(2));
    content.extend([7; 512]);
    let written = write_image::write(&device, &mut content.as_slice(), &quiet).unwrap();
    write_image::verify(&device, &written, &quiet).unwrap();
    device.write_at(MIB + 77, &[0]).unwrap();
    device.sync().unwrap();
    assert!(matches!(
        write_image::verify(&device, &written, &quiet),
        Err(DiskError::ReadBack { offset, .. }) if offset == MIB
    ));
}

#[test]
fn packed_images_may_have_several_frames_and_raw_ones_none() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (disk(&dir, "first", 0), disk(&dir, "second", 0));
    std::fs::write(&first, noise(1)).unwrap();
    std::fs::write(&second, noise(2)).unwrap();
    let mut packed = Vec::new();
    for file in [&first, &second] {
        tool("zstd", &["-q", file], "");
        packed.extend(std::fs::read(format!("{file}.zst")).unwrap());
    }
    for (name, source, wanted) in [
        ("packed", packed, [noise(1), noise(2)].concat()),
        ("raw", noise(3), noise(3)),
        ("shorter than a magic number", b"abc".to_vec(), b"abc".to_vec()),
        ("empty", vec![], vec![]),
    ] {
        let mut unpacked = Vec::new();
        image::unpack(&mut source.as_slice()).unwrap().read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == wanted, "{name}");
    }
}
