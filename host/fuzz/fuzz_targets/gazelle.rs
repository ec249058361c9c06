//! The target of a call, as a site or somebody else sends it.
#![no_main]

use karuta::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = fuzzed::text(bytes) else { return };
    fuzzed::gazelle(text);
});
