//! A JWK or a set of them, as an arbitrary server may send it.
#![no_main]

use karuta::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = fuzzed::text(bytes) else { return };
    let _ = fuzzed::jwk(text);
    let _ = jwt_rules::Jwk::read(text);
});
