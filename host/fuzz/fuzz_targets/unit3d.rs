//! A call of a UNIT3D: the path on the first line, and the body, as the site or somebody else sends
//! them.
#![no_main]

use karuta::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzed::unit3d(bytes);
});
