//! A `.torrent` file: bencode of any shape.
#![no_main]

use karuta_bittorrent::metainfo::Info;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Ok(info) = Info::find(file) {
        assert!(info.bytes.starts_with(b"d") && info.bytes.ends_with(b"e"));
        assert!(info.bytes.len() < file.len());
        assert!(info.is_v1 || info.is_v2);
    }
});
