//! A plugin's file, up to where it would be compiled.
#![no_main]

use karuta::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Err(refusal) = fuzzed::component(file) {
        assert!(!refusal.to_string().contains('\n'));
    }
});
