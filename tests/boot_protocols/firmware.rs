//! Real firmware in QEMU, emulated: BIOS with QEMU's network ROM (an iPXE), UEFI with OVMF's own PXE client.

use crate::desk::{Desk, OFFER, Server};
use crate::namespace::{ClientNamespace, inside, must, possible, run};
use crate::runtime;
use formwork::boot::client::Firmware;
use formwork::boot::desk::ScriptAction;
use formwork::boot::overlay::{OverlayFile, cpio};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const OVMF: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UUID: &str = "4c4c4544-0001-2000-8000-b04f4d4c4931";
/// Emulated machines on a busy host: three times what was seen.
const LIMIT: Duration = Duration::from_secs(120);

/// The image folder that `scripts/build-images` makes, or the one that `FORMWORK_IMAGES` names.
fn built_images() -> Option<PathBuf> {
    let named = std::env::var_os("FORMWORK_IMAGES").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("cache/images"));
    folder.join("loaders/snponly.efi").exists().then_some(folder)
}

/// Whether the firmware and a device to plug it into are there.
fn firmware_possible(test: &str, programs: &[&str]) -> bool {
    if !possible(test, &[&["qemu-system-x86_64", "ip"], programs].concat()) {
        return false;
    }
    let loaders = built_images().is_some() || Path::new("/usr/lib/ipxe/snponly.efi").exists();
    if !Path::new(OVMF).exists()
        || !loaders
        || !run("ls /usr/share/qemu/pxe-virtio.rom /usr/lib/ipxe/qemu/pxe-virtio.rom").1.contains("rom\n")
    {
        println!("SKIPPED {test}: the packages ovmf, ipxe and ipxe-qemu are needed");
        return false;
    }
    // As whoever the test will be inside: the device is root's on a machine without udev.
    if std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_err() {
        println!("SKIPPED {test}: /dev/net/tun cannot be opened");
        return false;
    }
    true
}

/// A bridge with our address and one machine's tap device.
fn bridge() {
    must("ip link set lo up && ip link add br0 type bridge && ip addr add 10.77.0.1/24 dev br0 && ip link set br0 up");
    must("ip tuntap add dev tap0 mode tap && ip link set tap0 master br0 && ip link set tap0 up");
}

/// An image folder with loaders: the project's own where they were built, else the system's.
fn folder_with_loaders() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let from = built_images().map_or_else(|| PathBuf::from("/usr/lib/ipxe"), |images| images.join("loaders"));
    let (from, at) = (from.display(), folder.path().display());
    must(&format!("mkdir {at}/loaders && cp {from}/undionly.kpxe {from}/snponly.efi {at}/loaders/"));
    must(&format!("cp /usr/share/OVMF/OVMF_VARS_4M.fd {at}/vars.fd"));
    folder
}

fn arguments(firmware: Firmware, folder: &Path) -> String {
    let common = format!("-uuid {UUID} -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01");
    match firmware {
        Firmware::Bios => format!("-M q35,graphics=off -m 256 {common} -boot order=n"),
        Firmware::Uefi => format!(
            "-M q35 -m 384 -drive if=pflash,format=raw,readonly=on,file={OVMF} \
             -drive if=pflash,format=raw,file={}/vars.fd {common},bootindex=0,romfile=",
            folder.display()
        ),
    }
}

/// Runs a machine until its serial line showed a text. Gives back all that it showed.
fn machine(firmware: Firmware, folder: &Path, more: &str, until: &str) -> String {
    let serial = folder.join(format!("{}.log", firmware.as_str()));
    let command = format!(
        "exec qemu-system-x86_64 -accel tcg,tb-size=64 -display none -monitor none -no-reboot -serial file:{} \
         -netdev tap,id=n0,ifname=tap0,script=no,downscript=no {} {more}",
        serial.display(),
        arguments(firmware, folder)
    );
    let mut child = Command::new("sh").args(["-c", &command]).spawn().expect("sh runs");
    let start = Instant::now();
    let mut shown = String::new();
    while start.elapsed() < LIMIT && !shown.contains(until) {
        std::thread::sleep(Duration::from_millis(100));
        shown = String::from_utf8_lossy(&std::fs::read(&serial).unwrap_or_default()).into_owned();
    }
    println!("{}: {:.1} s", firmware.as_str(), start.elapsed().as_secs_f32());
    let _ = child.kill();
    let _ = child.wait();
    assert!(shown.contains(until), "{firmware:?} showed no `{until}` but:\n{shown}");
    shown
}

#[test]
fn real_firmware_gets_its_script_over_bios_and_uefi() {
    let test = "firmware::real_firmware_gets_its_script_over_bios_and_uefi";
    if !firmware_possible(test, &[]) || !inside(test) {
        return;
    }
    bridge();
    let folder = folder_with_loaders();
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let desk = Desk::new(BTreeMap::new());
        let server = Server::start(&desk, "br0", folder.path());
        machine(firmware, folder.path(), "", "Formwork: held: the test looks at this");
        let asked = desk.asked.lock().expect("a lock").clone();
        assert_eq!((asked[0].firmware, asked[0].mac.to_string().as_str()), (firmware, "52:54:00:00:00:01"));
        assert_eq!((asked[0].uuid.as_deref(), asked[0].address.to_string().as_str()), (Some(UUID), "10.77.0.11"));
        // What DHCP showed of it, from the firmware and from iPXE, is the same machine.
        for seen in desk.seen.lock().expect("a lock").iter() {
            assert_eq!((seen.uuid.as_deref(), seen.firmware), (Some(UUID), Some(firmware)), "{seen:?}");
        }
        runtime.block_on(server.kill());
    }
}

#[test]
fn a_kernel_starts_with_the_overlay_over_its_initial_ram_disks() {
    let test = "firmware::a_kernel_starts_with_the_overlay_over_its_initial_ram_disks";
    let Some(images) = built_images().filter(|images| images.join("discovery/vmlinuz").exists()) else {
        println!("SKIPPED {test}: there is no cache/images/discovery/vmlinuz (scripts/build-images makes it)");
        return;
    };
    if !firmware_possible(test, &["busybox"]) || !inside(test) {
        return;
    }
    bridge();
    let folder = folder_with_loaders();
    must(&format!(
        "mkdir {0}/discovery && cp {1}/discovery/vmlinuz {0}/discovery/",
        folder.path().display(),
        images.display()
    ));
    // The first archive's file says what is seen when the overlay was not laid over it.
    let busybox = std::fs::read(must("readlink -f $(command -v busybox)").trim()).expect("busybox");
    let init = b"#!/bin/busybox sh\n/bin/busybox cat /words > /dev/console\n/bin/busybox sleep 60\n";
    let file = |path, mode, bytes| OverlayFile { path, mode, bytes };
    let base = [
        file("bin/busybox", 0o755, busybox.as_slice()),
        file("init", 0o755, init),
        file("words", 0o644, b"FROM THE BASE\n"),
        file("dev/.keep", 0o644, b""),
    ];
    std::fs::write(folder.path().join("base.cpio"), cpio(&base).expect("an archive")).expect("written");
    let over = cpio(&[file("words", 0o600, b"FROM THE OVERLAY\n")]).expect("an archive");
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let desk = Desk::new(BTreeMap::new());
        *desk.overlay.lock().expect("a lock") = over.clone().into();
        *desk.action.lock().expect("a lock") = ScriptAction::Boot {
            environment: "discovery".to_owned(),
            offer: OFFER.to_owned(),
            kernel: "/files/discovery/vmlinuz".to_owned(),
            initrds: vec!["/files/base.cpio".to_owned()],
            arguments: "console=ttyS0 quiet".to_owned(),
        };
        let server = Server::start(&desk, "br0", folder.path());
        machine(firmware, folder.path(), "", "FROM THE OVERLAY");
        runtime.block_on(server.kill());
    }
}

#[test]
fn firmware_boots_from_us_beside_another_dhcp_server() {
    let test = "firmware::firmware_boots_from_us_beside_another_dhcp_server";
    if !firmware_possible(test, &["dnsmasq"]) || !inside(test) {
        return;
    }
    bridge();
    must("ip link add fw0 type veth peer name fw1 && ip link set fw0 master br0 && ip link set fw0 up");
    let other = ClientNamespace::with("fw1");
    other.must("ip addr add 10.77.0.2/24 dev fw1");
    let folder = folder_with_loaders();
    let leases = folder.path().join("dnsmasq.leases");
    let mut dnsmasq = Command::new("sh")
        .args([
            "-c",
            &format!(
                "exec nsenter --net=/proc/{}/ns/net dnsmasq -d -u root -C /dev/null -p 0 -i fw1 --dhcp-leasefile={} \
             --dhcp-range=10.77.0.50,10.77.0.60",
                other.pid(),
                leases.display()
            ),
        ])
        .spawn()
        .expect("sh runs");
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let desk = Desk::in_mode("proxy", BTreeMap::new());
        let server = Server::start(&desk, "br0", folder.path());
        machine(firmware, folder.path(), "", "Formwork: held: the test looks at this");
        let asked = desk.asked.lock().expect("a lock").clone();
        assert_eq!(asked[0].firmware, firmware);
        assert!(asked[0].address.to_string().starts_with("10.77.0.5"), "{:?}", asked[0]);
        assert!(desk.stored.lock().expect("a lock").is_empty(), "a proxy leased an address");
        runtime.block_on(server.kill());
    }
    let _ = dnsmasq.kill();
    let _ = dnsmasq.wait();
}

#[test]
fn uefi_boots_over_http_without_tftp() {
    let test = "firmware::uefi_boots_over_http_without_tftp";
    if !firmware_possible(test, &[]) || !inside(test) {
        return;
    }
    bridge();
    let folder = folder_with_loaders();
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    let desk = Desk::new(BTreeMap::new());
    let server = Server::start(&desk, "br0", folder.path());
    // OVMF leaves its PXE client out and goes on to its HTTP client.
    let no_pxe =
        "-fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n";
    machine(Firmware::Uefi, folder.path(), no_pxe, "Formwork: held: the test looks at this");
    assert_eq!(desk.asked.lock().expect("a lock")[0].firmware, Firmware::Uefi);
    assert_eq!(server.metrics.tftp.bytes.get(), 0, "a loader went over TFTP");
    runtime.block_on(server.kill());
}

/// A boot sector that says a text on the first serial line and stops.
fn boot_sector(text: &str) -> Vec<u8> {
    // xor ax,ax; mov ds,ax; mov si,0x7c15; mov dx,0x3f8; next: lodsb; test al,al; jz stop; out dx,al; jmp next; stop: hlt; jmp stop
    let code: [u8; 21] = [
        0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x15, 0x7c, 0xba, 0xf8, 0x03, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8,
        0xf4, 0xeb, 0xfd,
    ];
    let mut sector = code.to_vec();
    sector.extend(text.as_bytes());
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    sector
}

#[test]
fn local_boots_the_disk_on_bios_and_uefi() {
    let test = "firmware::local_boots_the_disk_on_bios_and_uefi";
    let Some(images) = built_images() else {
        println!("SKIPPED {test}: there is no cache/images/loaders (scripts/build-images makes it)");
        return;
    };
    if !firmware_possible(test, &["mformat", "mcopy"]) || !inside(test) {
        return;
    }
    bridge();
    let folder = folder_with_loaders();
    let at = folder.path().display();
    std::fs::write(folder.path().join("bios.img"), boot_sector("A SYSTEM ON THE DISK")).expect("written");
    // The system on the UEFI disk is an iPXE with a script beside it: it shows that its file system was found and started.
    std::fs::write(folder.path().join("system.ipxe"), "#!ipxe\necho A SYSTEM ON THE DISK\nsleep 60\n")
        .expect("written");
    must(&format!(
        "truncate -s 64M {at}/uefi.img && mformat -i {at}/uefi.img -F :: && mmd -i {at}/uefi.img ::/EFI ::/EFI/BOOT && \
         mcopy -i {at}/uefi.img {}/loaders/ipxe.efi ::/EFI/BOOT/BOOTX64.EFI && \
         mcopy -i {at}/uefi.img {at}/system.ipxe ::/EFI/BOOT/autoexec.ipxe",
        images.display()
    ));
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let desk = Desk::new(BTreeMap::new());
        *desk.action.lock().expect("a lock") = ScriptAction::Local;
        let server = Server::start(&desk, "br0", folder.path());
        let disk = format!(
            "-drive file={at}/{}.img,format=raw,if=none,id=d0 -device virtio-blk-pci,drive=d0",
            firmware.as_str()
        );
        let shown = machine(firmware, folder.path(), &disk, "A SYSTEM ON THE DISK");
        assert!(shown.contains("Formwork: boots its own disk"), "{shown}");
        assert!(!shown.contains("next entry is tried"), "the firmware found it, not the script:\n{shown}");
        runtime.block_on(server.kill());
    }
}
