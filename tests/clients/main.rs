//! Real BitTorrent clients and the real daemon: a file goes from one client to another, and three
//! shipped policies decide every announce.

mod books;
mod client;
mod https;
mod nodes;
mod opentracker;
mod partial;
mod quay;
mod torrent;
mod tour;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use karuta_tests::{Daemon, eventually, within};

use client::{Client, Program};
use torrent::Torrent;

const FILE: &str = "file.bin";
/// The size of the file, in bytes.
const SIZE: usize = 3_000_000;

/// Clients announce often, so that no test waits long for a peer.
const INTERVALS: &str = "\
tracker:
  announce_interval: 2s
  min_announce_interval: 1s
  max_interval: 4s
  peer_lifetime: 1m
";

/// The names of the policies.
const POLICIES: [&str; 3] = ["clients", "torrents", "spread"];

/// Transmission decides only every 10 s which peers to ask and which to serve.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for a condition that depends on clients.
#[track_caller]
fn patiently(what: &str, holds: impl FnMut() -> bool) {
    within(PATIENCE, what, holds);
}

fn daemon(allowed: &Torrent) -> Daemon {
    Daemon::start(&rules(allowed))
}

/// Returns the intervals and the policies, which allow one torrent.
fn rules(allowed: &Torrent) -> String {
    let torrent = allowed.hex();
    format!(
        "{INTERVALS}\
         policies:
- name: clients
  plugin: PLUGINS/client-approval.wasm
  config: {{ deny: ['-XL', '-SD', '-XF'] }}
- name: torrents
  plugin: PLUGINS/torrent-approval.wasm
  config: {{ allow: ['{torrent}'] }}
- name: spread
  plugin: PLUGINS/interval-variation.wasm
  config: {{ probability: 0.5, max_increase: 1s, min_interval: true }}
"
    )
}

fn announces(daemon: &Daemon, transport: &str, outcome: &str) -> f64 {
    daemon.metric(&format!(
        "karuta_requests_total{{transport=\"{transport}\",action=\"announce\",family=\"ipv4\",\
         outcome=\"{outcome}\"}}"
    ))
}

/// Returns how many announces a policy has decided so, also those that it did not need to be called
/// for.
fn calls(daemon: &Daemon, policy: &str, verdict: &str) -> f64 {
    let decided = |remembered: bool| {
        daemon.metric(&format!(
            "karuta_policy_calls_total{{policy=\"{policy}\",hook=\"announce\",verdict=\"{verdict}\",\
             remembered=\"{remembered}\"}}"
        ))
    };
    decided(false) + decided(true)
}

fn seeders(daemon: &Daemon) -> f64 {
    daemon.metric("karuta_peers{family=\"ipv4\",role=\"seeder\"}")
}

/// Returns the announce URL of a daemon at an address.
fn url(daemon: &Daemon, transport: &str, at: IpAddr) -> String {
    let port = if transport == "udp" { daemon.udp.port() } else { daemon.http.port() };
    format!("{transport}://{}/announce", SocketAddr::new(at, port))
}

/// The addresses of the tracker and two clients.
struct Addresses {
    tracker: IpAddr,
    seeder: IpAddr,
    leecher: IpAddr,
}

const LOOPBACK: Addresses = Addresses {
    tracker: IpAddr::V4(Ipv4Addr::LOCALHOST),
    seeder: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    leecher: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)),
};

/// Returns this machine's own address for all, because Transmission ignores loopback peers from a
/// tracker.
fn own() -> Option<Addresses> {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // This chooses a route, and sends nothing.
    let address = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    match address.map(|address| address.ip()) {
        Ok(own) if !own.is_loopback() => {
            Some(Addresses { tracker: own, seeder: own, leecher: own })
        }
        _ => {
            client::skip("this machine has no address but loopback ones");
            None
        }
    }
}

fn transfer(transport: &str, seeder: Program, leecher: Program, addresses: &Addresses) {
    if !seeder.is_there() || !leecher.is_there() {
        return;
    }
    let content = torrent::content(SIZE);
    let torrent = Torrent::new(FILE, &content);
    let daemon = daemon(&torrent);
    let metainfo = torrent.metainfo(&url(&daemon, transport, addresses.tracker));

    let seeder = Client::start(seeder, addresses.seeder, &metainfo, Some((FILE, &content)), &[]);
    patiently("the seeder has announced itself", || seeders(&daemon) == 1.0);
    let leecher = Client::start(leecher, addresses.leecher, &metainfo, None, &[]);
    let arrived = || std::fs::read(leecher.file(FILE)).is_ok_and(|bytes| bytes == content);
    patiently("the file arrives", arrived);

    patiently("the leecher is a seeder now", || seeders(&daemon) == 2.0);
    drop((seeder, leecher));

    eventually("every policy was asked about every announce", || {
        let served = announces(&daemon, transport, "ok");
        served >= 3.0 && POLICIES.iter().all(|policy| calls(&daemon, policy, "next") == served)
    });
    let other = if transport == "udp" { "http" } else { "udp" };
    assert_eq!(announces(&daemon, other, "ok"), 0.0, "announces over {other}");
}

/// Tries both transports at once, because Transmission lets each transfer wait for up to 10 s.
fn over_http_and_udp(seeder: Program, leecher: Program, addresses: &Addresses) {
    std::thread::scope(|scope| {
        for transport in ["http", "udp"] {
            scope.spawn(move || transfer(transport, seeder, leecher, addresses));
        }
    });
}

#[test]
fn a_file_goes_from_aria2_to_aria2() {
    over_http_and_udp(Program::Aria2, Program::Aria2, &LOOPBACK);
}

#[test]
fn a_file_goes_from_transmission_to_aria2() {
    over_http_and_udp(Program::Transmission, Program::Aria2, &LOOPBACK);
}

#[test]
fn a_file_goes_from_aria2_to_transmission() {
    if let Some(own) = own() {
        over_http_and_udp(Program::Aria2, Program::Transmission, &own);
    }
}

/// Starts a seeder that is refused, because of its torrent or itself, and waits until it shows why.
fn refused(
    transport: &str,
    program: Program,
    arguments: &[&str],
    allowed: impl FnOnce(&Torrent) -> Torrent,
    (policy, reason): (&str, &str),
) {
    if !program.is_there() {
        return;
    }
    let content = torrent::content(SIZE);
    let torrent = Torrent::new(FILE, &content);
    let daemon = daemon(&allowed(&torrent));
    let metainfo = torrent.metainfo(&url(&daemon, transport, LOOPBACK.tracker));

    let client =
        Client::start(program, LOOPBACK.seeder, &metainfo, Some((FILE, &content)), arguments);
    // aria2 escapes the reasons that come over UDP.
    let shows = || client.output().replace("%20", " ").contains(reason);
    patiently(&format!("{program:?} shows `{reason}`"), shows);
    drop(client);

    eventually("the policy has refused every announce", || {
        let refused = announces(&daemon, transport, "rejected");
        refused >= 1.0 && calls(&daemon, policy, "reject") == refused
    });
    assert_eq!(announces(&daemon, transport, "ok"), 0.0);
    assert_eq!(daemon.metric("karuta_swarms"), 0.0);
}

fn refused_torrent(transport: &str, program: Program) {
    let other = |_: &Torrent| Torrent::new("other", b"other");
    refused(transport, program, &[], other, ("torrents", "unapproved torrent"));
}

#[test]
fn aria2_shows_why_a_torrent_is_refused_over_http() {
    refused_torrent("http", Program::Aria2);
}

#[test]
fn aria2_shows_why_a_torrent_is_refused_over_udp() {
    refused_torrent("udp", Program::Aria2);
}

#[test]
fn transmission_shows_why_a_torrent_is_refused_over_http() {
    refused_torrent("http", Program::Transmission);
}

#[test]
fn transmission_shows_why_a_torrent_is_refused_over_udp() {
    refused_torrent("udp", Program::Transmission);
}

#[test]
fn aria2_shows_why_its_client_is_refused() {
    let arguments = ["--peer-id-prefix=-XL0012-"];
    let same = |torrent: &Torrent| torrent.clone();
    let refusal = ("clients", "unapproved client");
    refused("http", Program::Aria2, &arguments, same, refusal);
    refused("udp", Program::Aria2, &arguments, same, refusal);
}
