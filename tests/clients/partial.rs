//! A partial seed (BEP 21) over UDP, at an address that is not the tracker's first.

use std::net::{IpAddr, Ipv4Addr};

use karuta_tests::Daemon;

use crate::client::{Client, Program};
use crate::torrent::{self, PIECE, Torrent};
use crate::{INTERVALS, announces, patiently, url};

const FIRST: &str = "release/first.bin";

#[test]
fn a_partial_seed_is_given_to_a_leecher() {
    if !Program::Libtorrent.is_there() {
        return;
    }
    let content = torrent::content(50 * PIECE);
    let (first, second) = content.split_at(20 * PIECE);
    let torrent = Torrent::of_folder("release", &[("first.bin", first), ("second.bin", second)]);
    let daemon = Daemon::start(INTERVALS);
    // libtorrent ignores answers from an address that it has not asked.
    let tracker = IpAddr::from(Ipv4Addr::new(127, 0, 0, 9));
    let metainfo = torrent.metainfo(&url(&daemon, "udp", tracker));
    let peers = |role| daemon.metric(&format!("karuta_peers{{family=\"ipv4\",role=\"{role}\"}}"));

    let start = |last, file, arguments: &[&str]| {
        let address = IpAddr::from([127, 0, 0, last]);
        Client::start(Program::Libtorrent, address, &metainfo, file, arguments)
    };
    let _partial_seed = start(2, Some((FIRST, first)), &["--only", FIRST]);
    patiently("the partial seed has announced itself", || peers("leecher") == 1.0);
    assert_eq!(peers("seeder"), 0.0);

    let leecher = start(3, None, &[]);
    let arrived = || std::fs::read(leecher.file(FIRST)).is_ok_and(|bytes| bytes == first);
    patiently("the file arrives", arrived);
    assert_eq!(announces(&daemon, "udp", "invalid"), 0.0);
}
