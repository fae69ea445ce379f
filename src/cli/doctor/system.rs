//! What the system gives this process: rights, ports, clock, room on disks.

use super::{Arguments, Check};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// `CAP_NET_BIND_SERVICE` and `CAP_NET_RAW` (capabilities(7)).
const BIND_SERVICE: u64 = 1 << 10;
const RAW: u64 = 1 << 13;
/// 2025-01-01: no computer that this program was built on is older.
const OLDEST_UNIX_SECONDS: u64 = 1_735_689_600;
/// Under this much room new events are soon refused; under the second, nothing fits.
const ROOM_LITTLE: u64 = 1 << 30;
const ROOM_NONE: u64 = 64 << 20;

/// The effective capabilities of this process, from the text of `/proc/self/status`.
pub(super) fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// What has to be allowed.
pub(super) fn rights(arguments: &Arguments) -> Vec<Check> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(held) = capabilities(&status) else {
        return vec![Check::warn("rights", "this system does not say which rights a process has", "run it on Linux")];
    };
    let give = |name: &str| {
        format!("run as root, or give {name}: `AmbientCapabilities={name}` in the unit, or setcap on the program")
    };
    let mut checks = Vec::new();
    checks.push(if held & BIND_SERVICE != 0 {
        Check::ok("right CAP_NET_BIND_SERVICE", "ports below 1024 may be opened")
    } else {
        let says = "DHCP (67), TFTP (69) and other ports below 1024 may not be opened";
        Check::fail("right CAP_NET_BIND_SERVICE", says, give("CAP_NET_BIND_SERVICE"))
    });
    checks.push(if held & RAW != 0 {
        Check::ok(
            "right CAP_NET_RAW",
            "addresses may be probed before they are given, answers sent to who has none yet",
        )
    } else {
        let says = "addresses of pools cannot be probed before they are given";
        Check::fail("right CAP_NET_RAW", says, give("CAP_NET_RAW"))
    });
    if let Some(address) = arguments.address {
        let bound = std::net::UdpSocket::bind((address, 0));
        checks.push(match bound {
            Ok(_) => Check::ok("address", format!("{address} is this computer's")),
            Err(error) => Check::fail(
                "address",
                format!("{address} is not this computer's ({error})"),
                "give --address one of those that `ip -4 address` shows",
            ),
        });
    }
    checks
}

/// Whether what is to be listened on can be.
pub(super) fn ports(arguments: &Arguments) -> Vec<Check> {
    let any = arguments.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let tcp = [("HTTP", arguments.http_port), ("API", arguments.api_port)];
    let tcp = tcp.map(|(what, port)| port_check(what, "tcp", port, open(Type::STREAM, any, port)));
    let udp = [("TFTP", 69), ("DHCP", 67), ("proxy DHCP", 4011)];
    let udp = udp.map(|(what, port)| port_check(what, "udp", port, open(Type::DGRAM, any, port)));
    tcp.into_iter().chain(udp).collect()
}

/// Where machines and administrators will find this server.
pub(super) fn urls(arguments: &Arguments) -> Vec<Check> {
    let Some(address) = arguments.address else { return Vec::new() };
    let urls = [
        ("URL for machines", format!("http://{address}:{}", arguments.http_port)),
        ("URL for administrators", format!("https://{address}:{}", arguments.api_port)),
    ];
    let check = |(name, url): (&str, String)| match address.is_loopback() || address.is_unspecified() {
        false => Check::ok(name, url),
        true => Check::warn(
            name,
            format!("{url}: nobody but this computer reaches it"),
            "give --address one that machines reach: `ip -4 address` shows what there is",
        ),
    };
    urls.into_iter().map(check).collect()
}

/// Opens a port and closes it.
fn open(kind: Type, address: Ipv4Addr, port: u16) -> io::Result<()> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
    if kind == Type::STREAM {
        // As a server does, so that a port that was used a moment ago counts as free.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SockAddr::from(SocketAddrV4::new(address, port)))?;
    if kind == Type::STREAM {
        socket.listen(1)?;
    }
    Ok(())
}

fn port_check(what: &str, protocol: &str, port: u16, opened: io::Result<()>) -> Check {
    let name = format!("port {port}/{protocol}");
    match opened {
        Ok(()) => Check::ok(name, format!("free, for {what}")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match owner(protocol, port) {
            Some((_, program)) if program.starts_with("formwork") => {
                Check::ok(name, format!("{what}: a running formwork has it"))
            }
            Some((pid, program)) => {
                let remedy = format!("stop {program}, or give its port or address to one of the two");
                Check::fail(name, format!("{what}: {program} (process {pid}) has it"), remedy)
            }
            None => Check::warn(
                name,
                format!("{what}: something has it"),
                format!("if that is not `formwork serve`: `ss -lnp 'sport = :{port}'` as root names it"),
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let remedy = "run as root, or give CAP_NET_BIND_SERVICE";
            Check::fail(name, format!("{what}: this user may not open it"), remedy)
        }
        Err(error) => Check::fail(name, format!("{what}: {error}"), "look at --address"),
    }
}

/// Which process has a port, as far as this user may see.
fn owner(protocol: &str, port: u16) -> Option<(u32, String)> {
    let table = std::fs::read_to_string(format!("/proc/net/{protocol}")).unwrap_or_default();
    let table6 = std::fs::read_to_string(format!("/proc/net/{protocol}6")).unwrap_or_default();
    let inodes: Vec<String> = [table, table6].iter().flat_map(|table| inodes(table, port)).collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for file in files.flatten() {
            let Ok(target) = std::fs::read_link(file.path()) else { continue };
            if wanted.iter().any(|wanted| target.as_os_str() == wanted.as_str()) {
                let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some((pid, name.trim().to_owned()));
            }
        }
    }
    None
}

/// Inodes of sockets that listen on a port, from the text of `/proc/net/tcp` or `udp` (proc(5)).
pub(super) fn inodes(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1), fields.get(3), fields.get(9));
        // 0A: listening, 07: an unconnected datagram socket.
        let listens = state.is_some_and(|state| *state == "0A" || *state == "07");
        if let (Some(local), Some(inode)) = (local, inode)
            && listens
            && local.ends_with(&suffix)
        {
            found.push((*inode).to_owned());
        }
    }
    found
}

/// Whether the clock can be believed: machines' clocks are set from it.
pub(super) fn clock() -> Check {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < OLDEST_UNIX_SECONDS {
        return Check::fail("clock", "it is before 2025", "set it: `timedatectl set-ntp true`, or `date -s`");
    }
    // What systemd-timesyncd and systemd-time-wait-sync leave when time was taken from the network once.
    let marks = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/chronyd.pid", "/run/ntpd.pid"];
    if marks.iter().any(|mark| Path::new(mark).exists()) {
        return Check::ok("clock", "it is set from the network");
    }
    let remedy = "install systemd-timesyncd or chrony: machines that boot set their clocks by this one";
    Check::warn("clock", "nothing is seen that keeps it right", remedy)
}

/// Room on the disk of a folder. Of one that is not there, whichever disk it would be on, nothing is said: that it is not there is.
pub(super) fn space(folder: &Path) -> Option<Check> {
    if !folder.is_dir() {
        return None;
    }
    let name = format!("room for {}", folder.display());
    let Ok(about) = rustix::fs::statvfs(folder) else {
        return Some(Check::warn(name, "it cannot be told", "look with `df`"));
    };
    Some(room(name, about.f_bavail.saturating_mul(about.f_frsize), about.f_favail, about.f_files))
}

pub(super) fn room(name: String, free: u64, inodes_free: u64, inodes: u64) -> Check {
    let says = format!("{} MiB free", free >> 20);
    if free < ROOM_NONE {
        return Check::fail(name, says, "make room: a full disk makes the store read-only");
    }
    if inodes > 0 && inodes_free < 1000 {
        return Check::fail(name, format!("{says}, but only {inodes_free} inodes"), "take files away");
    }
    if free < ROOM_LITTLE {
        return Check::warn(name, says, "make room: job logs and images want gigabytes");
    }
    Check::ok(name, says)
}
