//! torrent-approval: announces and scrapes are decided by the info-hash.

use karuta_tests::announce::{Announce, escape, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, bencode, get, ipv6};

use super::one;
use crate::everywhere;

#[test]
fn unapproved_torrents_are_refused_over_both_transports() {
    let hex = "61".repeat(20);
    let daemon = one("torrent-approval", &format!("{{ deny: ['{hex}'] }}"), "");
    everywhere::refused(&daemon, &Announce::of('a'), "unapproved torrent");
    everywhere::admitted(&daemon, &Announce::of('b'));
    let allow = format!("{{ allow: ['{}'] }}", "6A".repeat(20));
    let daemon = one("torrent-approval", &allow, "");
    everywhere::refused(&daemon, &Announce::of('a'), "unapproved torrent");
    everywhere::admitted(&daemon, &Announce::of('j'));
}

/// The tracker knows the unapproved torrent, because an earlier policy accepts one client.
#[test]
fn scrapes_of_unapproved_torrents_are_hidden_rejected_or_passed() {
    let hidden = [0; 3];
    let known = [0, 0, 1];
    for (scrapes, a, both) in [
        ("", Ok(hidden), Ok(vec![hidden, known])),
        ("scrapes: hide", Ok(hidden), Ok(vec![hidden, known])),
        ("scrapes: pass", Ok(known), Ok(vec![known, known])),
        (
            "scrapes: reject",
            Err("unapproved torrent".to_owned()),
            Err("unapproved torrent".to_owned()),
        ),
    ] {
        let daemon = Daemon::start(&format!(
            "policies:
  - name: vip
    plugin: PLUGINS/test-hostile.wasm
    config: {{ rules: [{{ on: announce, do: accept, query: vip }}] }}
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    config: {{ deny: ['{}'], {scrapes} }}
",
            "61".repeat(20)
        ));
        Announce::of('a').with("vip=1").http(daemon.http).expect("let in by the first");
        Announce::of('b').http(daemon.http).unwrap();
        for address in [daemon.udp, ipv6(daemon.udp)] {
            let udp = Client::connect(address);
            assert_eq!(udp.scrape(&[torrent('a')]).map(|found| found[0]), a, "{scrapes}");
            assert_eq!(udp.scrape(&[torrent('a'), torrent('b')]), both, "{scrapes}");
            assert_eq!(udp.scrape(&[torrent('b')]), Ok(vec![known]), "{scrapes}");
        }
        let query = ['a', 'b'].map(|letter| format!("info_hash={}", escape(&torrent(letter))));
        let answer = get(daemon.http, &format!("/scrape?{}", query.join("&")), &[]);
        let answer = bencode::read(&answer.body);
        match both {
            Err(reason) => assert_eq!(answer.text("failure reason"), Some(reason)),
            Ok(counts) => {
                let files = answer.get("files").unwrap();
                let leechers = ['a', 'b'].map(|letter| {
                    let file = files.get(&letter.to_string().repeat(20)).unwrap();
                    file.integer("incomplete") as u32
                });
                assert_eq!(leechers, [counts[0][2], counts[1][2]], "{scrapes}");
            }
        }
    }
}

/// chihaya's filter of 2016 skipped some of them, and crashed if there were several.
#[test]
fn a_scrape_hides_each_unapproved_torrent_and_keeps_the_order() {
    let deny = ["61", "62", "64"].map(|byte| format!("'{}'", byte.repeat(20))).join(", ");
    let daemon = one("torrent-approval", &format!("{{ deny: [{deny}] }}"), "");
    Announce::of('c').http(daemon.http).unwrap();
    let udp = Client::connect(daemon.udp);
    let (no, yes) = ([0; 3], [0, 0, 1]);
    for (letters, expected) in [
        ("ab", vec![no, no]),
        ("abdabdc", vec![no, no, no, no, no, no, yes]),
        ("cabcdc", vec![yes, no, no, yes, no, yes]),
    ] {
        let info_hashes: Vec<_> = letters.chars().map(torrent).collect();
        assert_eq!(udp.scrape(&info_hashes), Ok(expected), "{letters}");
    }
}
