//! The options after a UDP announce (BEP 41): none fails the announce or is read past its end.
#![no_main]

use karuta_bittorrent::parameters::Parameters;
use karuta_bittorrent::{query, udp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|options: &[u8]| {
    let mut packet = vec![1; 98];
    packet[8..12].copy_from_slice(&[0, 0, 0, 1]);
    packet.extend_from_slice(options);
    let mut url_data = Vec::new();
    udp::announce(&packet, &mut url_data).expect("options never fail an announce");
    assert!(url_data.len() <= options.len());
    let (_, query) = query::split(&url_data);
    let _ = Parameters::of(query).get(query, "jwt");
});
