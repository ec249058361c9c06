//! Benchmarks the parts of an announce: `make microbench`.
//!
//! Policies are measured if `target/plugins` has the component `test-nop`.

mod common;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{chain, component};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hyper::header::{HOST, USER_AGENT};
use hyper::{HeaderMap, Uri, http::HeaderValue};
use karuta::exchange::{Exchange, Ruling};
use karuta::policy::Chain;
use karuta::recording::{Came, Rings};
use karuta_bittorrent::http::AnnounceAnswer;
use karuta_bittorrent::parameters::Parameters;
use karuta_bittorrent::udp::{self, Header};
use karuta_bittorrent::{
    Counts, Event, Family, InfoHash, PeerForm, PeerId, Peers, Transport, query,
};
use karuta_swarm::{Options, Shared, Store, Update};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

criterion_group!(benches, parsing, encoding, selection, recording, policies);
criterion_main!(benches);

/// Peers in an answer.
const WANT: u32 = 50;

const QUERY: &[u8] = b"info_hash=%124Vx%9a%bc%de%f1%23Eg%89%ab%cd%ef%124Vx%9a&peer_id=-KL0001-%00%01%02%03\
    %04%05%06%07%08%09%0a%0b&port=6881&uploaded=0&downloaded=0&left=1073741824&compact=1&numwant=50";

fn parsing(criterion: &mut Criterion) {
    let packet = packet();
    let mut url = Vec::new();
    criterion.bench_function("parse/udp", |bencher| {
        bencher.iter(|| {
            let packet = black_box(&packet[..]);
            (Header::parse(packet), udp::announce(packet, &mut url))
        });
    });
    criterion.bench_function("parse/http", |bencher| {
        let mut parameters = Parameters::default();
        bencher.iter(|| {
            parameters.split(black_box(QUERY));
            query::announce(QUERY, &parameters)
        });
    });
}

/// Makes a UDP announce of 98 bytes.
fn packet() -> Vec<u8> {
    let mut packet = vec![0; 98];
    packet[11] = 1; // announce
    packet[92..96].copy_from_slice(&WANT.to_be_bytes());
    packet[96..].copy_from_slice(&6881_u16.to_be_bytes());
    packet
}

fn encoding(criterion: &mut Criterion) {
    let peers = Peers { ipv4: vec![1; 6 * WANT as usize], ..Peers::default() };
    let counts = Counts { seeders: 8, leechers: 56, partial_seeds: 0, completed: 3 };
    let header = Header::parse(&packet()).expect("an announce");
    let mut out = Vec::new();
    criterion.bench_function("encode/udp", |bencher| {
        bencher.iter(|| {
            out.clear();
            udp::write_announce(&mut out, &header, 1800, counts, Family::Ipv4, black_box(&peers));
        });
    });
    criterion.bench_function("encode/http", |bencher| {
        bencher.iter(|| {
            out.clear();
            let answer = AnnounceAnswer {
                counts,
                interval: 1800,
                min_interval: 900,
                peers: black_box(&peers),
                form: PeerForm::Compact,
                external_ip: Some(Ipv4Addr::LOCALHOST.into()),
                warning: None,
            };
            answer.write(&mut out);
        });
    });
}

/// Measures announces of peers that the swarm knows.
fn selection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("select");
    for size in [100, 10_000, 1_000_000] {
        let store = Shared::alone(Options::default());
        let mut rng = SmallRng::seed_from_u64(1);
        let mut peers = Peers::default();
        let mut announce = |peer: u32, want| {
            let update = Update {
                info_hash: InfoHash([7; 20]),
                peer: SocketAddr::from((Ipv4Addr::from_bits(0x0b00_0000 + peer), 6881)),
                peer_id: PeerId([1; 20]),
                event: Event::None,
                seeder: peer.is_multiple_of(8),
                want,
                only: Some(Family::Ipv4),
                locality: None,
                is_hidden: false,
                now: 0,
            };
            peers.clear();
            store.announce(&update, &mut rng, &mut peers).expect("this store has no limits")
        };
        (0..size).for_each(|peer| {
            announce(peer, 0);
        });
        let mut rng = SmallRng::seed_from_u64(2);
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, size| {
            bencher.iter(|| announce(rng.random_range(0..*size), WANT as usize));
        });
    }
}

/// Measures the record of an announce, with as many in a batch as there may be.
fn recording(criterion: &mut Criterion) {
    const BATCH: usize = 32;
    let rings = Rings::new(16 << 20, 1, Duration::ZERO, 0);
    let mut tape = rings.tape();
    let mut record = |name, exchange: &Exchange, came: Came| {
        let counts = Some(Counts { seeders: 8, leechers: 56, ..Counts::default() });
        let mut waiting = 0;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                tape.write(black_box(exchange), came, false, counts, "", Duration::ZERO);
                waiting += 1;
                if waiting == BATCH {
                    tape.publish();
                    waiting = 0;
                }
            });
        });
    };
    let mut exchange = Exchange::default();
    record("record/udp", &exchange, Came::Udp(&packet()));
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("tracker.example.org:6969"));
    headers.insert(USER_AGENT, HeaderValue::from_static("karuta-bench"));
    let target = [b"/announce?", QUERY].concat();
    let uri = Uri::try_from(target).expect("a target");
    exchange.request.transport = Transport::Http;
    exchange.request.target.make().over_http(uri, headers);
    record("record/http", &exchange, Came::Http);
}

/// Measures a policy that does nothing, one that asks the host for a number, and one with a
/// remembered verdict.
fn policies(criterion: &mut Criterion) {
    let Some(component) = component("test-nop") else { return };
    for (name, config) in [
        ("policy/nop", "{}"),
        ("policy/getter", "{ getter: true }"),
        ("policy/remembered", "{ remember: true }"),
    ] {
        let mut chain = chain(&format!("plugin: '{component}', config: {config}"));
        let mut exchange = Box::new(Exchange::default());
        exchange.request.address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        criterion.bench_function(name, |bencher| bencher.iter(|| admit(&mut chain, &mut exchange)));
    }
}

fn admit(chain: &mut Chain, exchange: &mut Box<Exchange>) {
    exchange.begin(exchange.now, false);
    exchange.answer.reset(1800, 900, WANT);
    chain.announce(black_box(std::slice::from_mut(exchange)));
    assert_eq!(exchange.answer.ruling, Ruling::Open);
}
