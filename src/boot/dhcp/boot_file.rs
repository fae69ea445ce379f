//! What a client is told to boot. The order of decision is the whole point: our own iPXE, HTTP boot, any iPXE, plain PXE.

use super::super::client::{Classified, Client, Firmware, Platform};
use super::super::desk::BootPermit;
use super::super::packet::{Request, code};
use super::super::reply::Reply;
use super::super::script::START_PATH;
use super::{Decision, LeaseChange, Silence, Situation, identifier, silent};
use std::net::Ipv4Addr;

/// In which role we answer: what goes into option 60 and 43 depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// We give the address too.
    Server,
    /// Another server gives it; we add.
    Proxy,
    /// The second step of a UEFI client with a proxy, on port 4011.
    ProxyPort,
}

/// PXE 2.1 vendor options: 43.6 (discovery control) = 8, boot from the file name of this very answer; then the end.
const PXE_USE_FILE: [u8; 4] = [6, 1, 8, 255];
/// iPXE's 175.176 (`no-pxedhcp`) = 1: do not wait two seconds for a proxy.
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];

/// The file or URL that a client boots from; `None` where we have nothing for it.
pub fn boot_file(who: &Classified, server: Ipv4Addr, http_port: u16) -> Option<String> {
    let script = || format!("http://{server}:{http_port}{START_PATH}");
    let loader = who.platform.and_then(Platform::loader);
    match who.client {
        Client::OwnIpxe | Client::Ipxe { http: true } => Some(script()),
        Client::HttpBoot => loader.map(|name| format!("http://{server}:{http_port}/boot/loaders/{name}")),
        // An iPXE without HTTP cannot fetch the script: it loads ours. By full URL, since it may take the host of a bare
        // name from elsewhere. Ours has HTTP, so this ends.
        Client::Ipxe { http: false } => loader.map(|name| format!("tftp://{server}/{name}")),
        Client::Pxe => loader.map(str::to_owned),
        Client::Other => None,
    }
}

/// Adds what to boot to an answer. Gives back why nothing was added.
pub(super) fn add(
    reply: &mut Reply,
    request: &Request,
    who: &Classified,
    situation: &Situation<'_>,
    role: Role,
) -> Option<Silence> {
    if !who.boots() || matches!(situation.permit, BootPermit::Refused { .. }) {
        return Some(Silence::NotPermitted);
    }
    let Some(file) = boot_file(who, situation.server, situation.http_port) else { return Some(Silence::NotPermitted) };
    reply.set_boot(situation.server, &file);
    // 17 bytes (RFC 4578, section 2.3); what is much longer is nobody's, and would make the answer too large for a packet.
    if let Some(machine) = request.option(code::CLIENT_MACHINE).filter(|machine| machine.len() <= 64) {
        reply.options.push((code::CLIENT_MACHINE, machine.to_vec()));
    }
    match who.client {
        Client::HttpBoot => reply.options.push((code::VENDOR_CLASS, b"HTTPClient".to_vec())),
        // 150 for clients that ignore 66 and siaddr; iPXE and plain PXE alike do not mind.
        Client::Pxe | Client::Ipxe { http: false } => {
            reply.options.push((code::TFTP_SERVER_ADDRESS, situation.server.octets().to_vec()));
        }
        _ => {}
    }
    if matches!(who.client, Client::OwnIpxe | Client::Ipxe { .. }) && role == Role::Server {
        reply.options.push((code::ETHERBOOT, IPXE_NO_PROXY.to_vec()));
    }
    // In server mode 60 is not sent to PXE clients: without a valid 43 EDK2 takes it for a proxy's word and goes to 4011.
    if role != Role::Server && who.client != Client::HttpBoot {
        reply.options.push((code::VENDOR_CLASS, b"PXEClient".to_vec()));
        let bios = who.platform.is_none_or(|p| p.firmware() == Firmware::Bios);
        if bios && who.client == Client::Pxe {
            reply.options.push((code::VENDOR_INFORMATION, PXE_USE_FILE.to_vec()));
        }
    }
    None
}

/// A whole answer that holds nothing but what to boot.
pub(super) fn answer(
    reply: &mut Reply,
    request: &Request,
    who: &Classified,
    situation: &Situation<'_>,
    role: Role,
) -> Decision {
    reply.options.push((code::SERVER_IDENTIFIER, identifier(request, situation).octets().to_vec()));
    match add(reply, request, who, situation, role) {
        Some(silence) => silent(silence),
        None => Decision::Answer { reply: Box::new(reply.clone()), change: LeaseChange::None },
    }
}
