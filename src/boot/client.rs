//! Who asks: firmware, iPXE or an operating system; which architecture. RFC 4578, RFC 5970 and IANA's list of processor
//! architecture types.

use super::packet::{Request, code};
use crate::content::kinds::Architecture;
use serde::{Deserialize, Serialize};

/// The firmware's kind, as it matters to boot files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// PC BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

impl Firmware {
    /// `bios` or `uefi`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

/// What a box is able to run, as its option 93 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// PC BIOS (architecture 0, 20).
    BiosX86,
    /// 32-bit x86 UEFI (6, 15). Recognised so that it is named in logs; nothing is served.
    UefiX86,
    /// 64-bit x86 UEFI (7, 9, 16).
    UefiX64,
    /// 32-bit Arm UEFI (10, 18). Recognised; nothing is served.
    UefiArm32,
    /// 64-bit Arm UEFI (11, 19).
    UefiArm64,
    /// Raspberry Pi's own boot ROM (41, or 0 from one of its MAC prefixes). Recognised; nothing is served.
    RaspberryPi,
}

impl Platform {
    /// The firmware's kind.
    pub const fn firmware(self) -> Firmware {
        match self {
            Self::BiosX86 => Firmware::Bios,
            _ => Firmware::Uefi,
        }
    }

    /// The architecture in content's words, where content has one.
    pub const fn architecture(self) -> Option<Architecture> {
        match self {
            Self::BiosX86 | Self::UefiX64 => Some(Architecture::X86_64),
            Self::UefiArm64 => Some(Architecture::Aarch64),
            Self::UefiX86 | Self::UefiArm32 | Self::RaspberryPi => None,
        }
    }

    /// The loader's name beneath TFTP and `/boot/loaders/`, where we have one for it.
    ///
    /// `snponly.efi` rather than `ipxe.efi`: the firmware's own driver is the one that just worked, iPXE's hang on
    /// several server cards (X550, E810, ConnectX-4, NetXtreme).
    pub const fn loader(self) -> Option<&'static str> {
        match self {
            Self::BiosX86 => Some("undionly.kpxe"),
            Self::UefiX64 => Some("snponly.efi"),
            Self::UefiArm64 => Some("snponly-arm64.efi"),
            Self::UefiX86 | Self::UefiArm32 | Self::RaspberryPi => None,
        }
    }

    const fn of_code(code: u16) -> Option<(Self, bool)> {
        Some(match code {
            0 => (Self::BiosX86, false),
            6 => (Self::UefiX86, false),
            7 | 9 => (Self::UefiX64, false),
            10 => (Self::UefiArm32, false),
            11 => (Self::UefiArm64, false),
            15 => (Self::UefiX86, true),
            16 => (Self::UefiX64, true),
            18 => (Self::UefiArm32, true),
            19 => (Self::UefiArm64, true),
            20 => (Self::BiosX86, true),
            41 => (Self::RaspberryPi, false),
            _ => return None,
        })
    }
}

/// Who asks, in the order in which it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// An iPXE that says it is Formwork's (user class `Formwork`).
    OwnIpxe,
    /// UEFI HTTP boot (vendor class `HTTPClient…`): wants an absolute URL.
    HttpBoot,
    /// Any other iPXE (user class `iPXE`). Debian's and those in network cards are such.
    Ipxe {
        /// It can fetch over HTTP (option 175.19), or does not say.
        http: bool,
    },
    /// Plain PXE firmware (vendor class `PXEClient…`).
    Pxe,
    /// No network boot: an operating system, an agent.
    Other,
}

/// Who asks and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// Who asks.
    pub client: Client,
    /// On what, where it says so and it is known.
    pub platform: Option<Platform>,
}

impl Classified {
    /// Whether it asks for something to boot.
    pub fn boots(&self) -> bool {
        self.client != Client::Other
    }
}

/// MAC prefixes of Raspberry Pi boards, which send architecture 0 from their boot ROM (IEEE's list).
const RASPBERRY_PI: [[u8; 3]; 5] =
    [[0xb8, 0x27, 0xeb], [0xdc, 0xa6, 0x32], [0xe4, 0x5f, 0x01], [0xd8, 0x3a, 0xdd], [0x2c, 0xcf, 0x67]];

/// iPXE's number of its HTTP feature inside option 175.
const FEATURE_HTTP: u8 = 0x13;

/// Tells who asks. Option 60 alone says nothing, since iPXE keeps `PXEClient`: the user class comes first.
pub fn classify(request: &Request) -> Classified {
    let known = request.architectures().into_iter().find_map(Platform::of_code);
    let by_class = |name: &[u8]| request.user_classes().iter().any(|class| class.eq_ignore_ascii_case(name));
    let vendor = request.vendor_class();
    let client = if by_class(b"Formwork") {
        Client::OwnIpxe
    } else if vendor.starts_with(b"HTTPClient") {
        Client::HttpBoot
    } else if by_class(b"iPXE") || by_class(b"gPXE") {
        Client::Ipxe { http: request.ipxe_feature(FEATURE_HTTP).unwrap_or(true) }
    } else if vendor.starts_with(b"PXEClient") {
        match known {
            // Some firmware says PXEClient with an HTTP architecture; the architecture is the sharper word.
            Some((_, true)) => Client::HttpBoot,
            _ => Client::Pxe,
        }
    } else {
        Client::Other
    };
    let mut platform = known.map(|(platform, _)| platform);
    if platform.is_none() && matches!(client, Client::Pxe) && request.option(code::CLIENT_ARCHITECTURE).is_none() {
        platform = platform_in_vendor_class(vendor);
    }
    let [a, b, c, ..] = request.mac.0;
    if platform == Some(Platform::BiosX86) && client == Client::Pxe && RASPBERRY_PI.contains(&[a, b, c]) {
        platform = Some(Platform::RaspberryPi);
    }
    Classified { client, platform }
}

/// `PXEClient:Arch:00007:UNDI:003016`: the architecture as text, for firmware that leaves option 93 out.
fn platform_in_vendor_class(vendor: &[u8]) -> Option<Platform> {
    let text = std::str::from_utf8(vendor).ok()?;
    let number = text.strip_prefix("PXEClient:Arch:")?.get(..5)?;
    Platform::of_code(number.parse().ok()?).map(|(platform, _)| platform)
}
