//! The fuzzer: libFuzzer around one target, named by `FORMWORK_FUZZ_TARGET`. `scripts/fuzz` builds and drives it.

#![no_main]

mod targets;

use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var("FORMWORK_FUZZ_TARGET").unwrap_or_default();
        let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, target)| *target).unwrap_or_else(|| panic!("FORMWORK_FUZZ_TARGET={wanted} is no target"))
    });
    target(bytes);
});
