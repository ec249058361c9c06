//! A `.torrent` file: bencode of any shape.
#![no_main]

use karuta::bittorrent::metainfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Some(info) = metainfo::info(file) {
        assert!(info.starts_with(b"d") && info.ends_with(b"e"));
        assert!(info.len() < file.len());
    }
});
