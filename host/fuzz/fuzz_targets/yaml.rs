//! The configuration: no text panics, and an error is one line.
#![no_main]

use std::path::Path;

use karuta::{config, fuzzed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = fuzzed::text(bytes) else { return };
    if let Err(error) = config::parse(text, Path::new("config.yaml")) {
        let shown = error.to_string();
        assert!(shown.starts_with("config.yaml") && !shown.contains('\n'), "{shown}");
    }
});
