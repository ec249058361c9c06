//! An announce over HTTP and over UDP, each on IPv4 and on IPv6.

use karuta_tests::announce::{Announce, Reply};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, ipv6};

/// Returns the four answers.
pub fn answers(daemon: &Daemon, announce: &Announce) -> [Result<Reply, String>; 4] {
    [
        announce.http(daemon.http),
        announce.http(ipv6(daemon.http)),
        announce.udp(&Client::connect(daemon.udp)),
        announce.udp(&Client::connect(ipv6(daemon.udp))),
    ]
}

#[track_caller]
pub fn refused(daemon: &Daemon, announce: &Announce, reason: &str) {
    let refused = Err(reason.to_owned());
    assert_eq!(answers(daemon, announce), std::array::from_fn(|_| refused.clone()));
}

#[track_caller]
pub fn admitted(daemon: &Daemon, announce: &Announce) {
    let answers = answers(daemon, announce);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}
