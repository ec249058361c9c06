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
            // It goes into the log as one line, with at most 60 bytes of the data, escaped.
            Err(reason) => assert!(reason.len() < 600 && !reason.contains('\n'), "{reason}"),
        }
    }
});
