//! What the machine says about itself, read from `/proc` and `/sys`.

use crate::wire::HardwareIdentity;
use std::path::Path;

/// This start of the kernel.
pub fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// `uname -r`.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// `x86_64`, `aarch64`, …
pub fn architecture() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// `uefi` or `bios`.
pub fn firmware() -> &'static str {
    if Path::new("/sys/firmware/efi").is_dir() { "uefi" } else { "bios" }
}

/// One small file's text, trimmed; `None` when it is not there or empty.
pub fn read_trimmed(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// MACs (that of the default route's or first link that is up first), UUID and serial.
pub fn hardware_identity() -> HardwareIdentity {
    let mut macs: Vec<(bool, String, String)> = interfaces()
        .into_iter()
        .filter_map(|name| {
            let base = format!("/sys/class/net/{name}");
            let mac = read_trimmed(format!("{base}/address"))?.to_lowercase();
            let up = read_trimmed(format!("{base}/operstate")).as_deref() == Some("up");
            Some((!up, name, mac))
        })
        .collect();
    macs.sort();
    HardwareIdentity {
        macs: macs.into_iter().map(|(_, _, mac)| mac).collect(),
        uuid: read_trimmed("/sys/class/dmi/id/product_uuid").map(|uuid| uuid.to_lowercase()),
        serial: read_trimmed("/sys/class/dmi/id/product_serial"),
    }
}

/// Names of network cards: links with hardware behind them and an Ethernet address.
pub fn interfaces() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            let base = format!("/sys/class/net/{name}");
            let ethernet = read_trimmed(format!("{base}/type")).as_deref() == Some("1");
            ethernet && Path::new(&format!("{base}/device")).exists()
        })
        .collect();
    names.sort();
    names
}

/// The address by which this machine speaks to the server: no packet is sent to learn it.
pub fn address_towards(server: &str) -> Option<String> {
    let host = server.strip_prefix("https://").unwrap_or(server).split('/').next()?;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(host).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}
