//! client-approval: announces are decided by the beginning of the peer id.

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::eventually;
use karuta_tests::udp::Client;

use super::{let_in, one, rename_in};
use crate::everywhere;

#[test]
fn denied_clients_are_refused_over_both_transports() {
    let daemon = one("client-approval", "{ deny: [-XL, '-SD01', M7-1-0--] }", "");
    for client in ["-XL0012-", "-SD0100-", "M7-1-0--"] {
        everywhere::refused(&daemon, &Announce::of('a').client(client), "unapproved client");
    }
    for client in ["-TR4050-", "-SD0200-", "-xl0012-", "XL-0012-", "M7-1-1--"] {
        everywhere::admitted(&daemon, &Announce::of('a').client(client));
    }
    let answer = Announce::of('a').client("-XL0012-").get(daemon.http, &[]);
    assert_eq!(answer.body_text(), "d14:failure reason17:unapproved cliente");
    let udp = Client::connect(daemon.udp);
    let packet = Announce::of('a').client("-XL0012-").packet(udp.id, 0x0a0b_0c0d);
    let expected = b"\x00\x00\x00\x03\x0a\x0b\x0c\x0dunapproved client\0";
    assert_eq!(udp.exchange(&packet), expected);
    assert_eq!(udp.scrape(&[torrent('a')]).unwrap()[0][2], 2, "only those that were let in");
}

#[test]
fn with_an_allow_list_only_its_clients_are_admitted() {
    let daemon = one("client-approval", "{ allow: [-TR, '-qB4'], deny: ['-TR0'] }", "");
    for client in ["-TR4050-", "-qB4500-"] {
        everywhere::admitted(&daemon, &Announce::of('a').client(client));
    }
    for client in ["-TR0001-", "-qB3000-", "-XL0012-"] {
        everywhere::refused(&daemon, &Announce::of('a').client(client), "unapproved client");
    }
}

#[test]
fn a_list_of_clients_is_followed() {
    let data = "    data: { approved: { file: approved.txt, format: strings } }\n";
    let daemon = one("client-approval", "{ allow: [-TR4], allow_from: approved }", data);
    let found = |client: &str, expected| {
        let announce = Announce::of('a').client(client);
        let_in(&daemon, &announce, "unapproved client") == [[expected; 2]; 2]
    };
    assert!(found("-TR4050-", true) && found("-qB5000-", false));
    rename_in(&daemon, "approved.txt", "-qB5\n-lt20A0-0123456789ab # one single peer\n");
    eventually("the list counts", || found("-qB5000-", true));
    assert!(found("-TR4050-", true) && found("-qB4000-", false), "both lists count");
    assert!(found("-lt20A0-x", false) && found("-lt20A0-0123456789ab", true));
}
