//! The query of an HTTP announce or scrape: no input panics, and whatever parses can be answered.
#![no_main]

use karuta_bittorrent::parameters::Parameters;
use karuta_bittorrent::query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &[u8]| {
    let (_, query) = query::split(target);
    let parameters = Parameters::of(query);
    if let Ok(announce) = query::announce(query, &parameters) {
        assert_ne!(announce.port, 0);
        let port = parameters.get(query, "port").expect("the port was there").bytes(query);
        let port = str::from_utf8(&port).expect("a number").parse();
        assert_eq!(port, Ok(announce.port));
    }
    let mut info_hashes = Vec::new();
    if query::scrape(query, &parameters, 3, &mut info_hashes).is_ok() {
        assert!((1..=3).contains(&info_hashes.len()));
    }
});
