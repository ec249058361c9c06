//! What a tracker answers to a client, over HTTP and UDP.
#![no_main]

use karuta_bittorrent::InfoHash;
use karuta_bittorrent::client::{
    Answer, read_http_announce, read_http_scrape, read_udp, read_udp_connect,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    if let Ok(Answer::Failure(text)) = read_http_announce(answer) {
        assert!(text.len() <= 3 * answer.len());
    }
    let _ = read_http_scrape(answer, InfoHash([b'a'; 20]));
    let transaction = answer.get(4..8).map_or(0, |its| its.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)));
    let _ = read_udp_connect(answer, transaction);
    if let Ok(Answer::Failure(text)) = read_udp(answer, transaction) {
        assert!(text.len() <= 3 * answer.len());
    }
});
