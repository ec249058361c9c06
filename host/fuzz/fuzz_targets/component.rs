//! A plugin's file, as far as it is looked at before it is compiled.
#![no_main]

use karuta::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Err(refusal) = fuzzed::component(file) {
        assert!(!refusal.to_string().contains('\n'));
    }
});
