//! A UDP packet: no input panics, and whatever parses has the right size.
#![no_main]

use karuta_bittorrent::parameters::Parameters;
use karuta_bittorrent::udp::{self, Action, Header};
use karuta_bittorrent::{Invalid, query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let Some(header) = Header::parse(packet) else {
        return;
    };
    match header.action {
        Action::Announce | Action::AnnounceIpv6 => {
            let mut url_data = Vec::new();
            if let Ok(announce) = udp::announce(packet, &mut url_data) {
                assert_ne!(announce.port, 0);
                assert!(url_data.len() < packet.len());
                let (_, query) = query::split(&url_data);
                let _ = Parameters::of(query).get(query, "jwt");
            }
        }
        Action::Scrape => match udp::scrape(packet) {
            Ok(info_hashes) => assert_eq!((packet.len() - 16) / 20, info_hashes.count()),
            Err(error) => assert_eq!(error, Invalid::Packet),
        },
        Action::Connect | Action::Unknown => {}
    }
});
