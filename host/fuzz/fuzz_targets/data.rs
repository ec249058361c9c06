//! A data source in each of its formats.
#![no_main]

use karuta::config::DataFormat;
use karuta::data::Content;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for format in
        [DataFormat::InfoHashes, DataFormat::Addresses, DataFormat::Strings, DataFormat::Raw]
    {
        match Content::parse(format, bytes) {
            Ok(content) => assert!(content.entries() <= bytes.len().max(1)),
            // It stands in the log, in one line.
            Err(reason) => assert!(reason.len() < 400 && !reason.contains('\n'), "{reason}"),
        }
    }
});
