//! The query of an HTTP announce or scrape: no input panics, and what was read can be answered.
#![no_main]

use karuta::bittorrent::query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &[u8]| {
    let (_, query) = query::split(target);
    if let Ok(announce) = query::announce(query) {
        assert_ne!(announce.port, 0);
        let port = query::parameter(query, "port").expect("the port was there");
        let port = str::from_utf8(&port).expect("a number").parse();
        assert_eq!(port, Ok(announce.port));
    }
    let mut info_hashes = Vec::new();
    if query::scrape(query, 3, &mut info_hashes).is_ok() {
        assert!((1..=3).contains(&info_hashes.len()));
    }
});
