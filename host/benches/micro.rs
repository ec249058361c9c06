//! The parts of an announce, one by one: `make microbench`.
//!
//! Policies are called where `target/plugins` has the components `test-nop` and `jwt`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use hyper::HeaderMap;
use karuta::bittorrent::http::AnnounceAnswer;
use karuta::bittorrent::udp::{self, Header};
use karuta::bittorrent::{Counts, Event, Family, InfoHash, PeerForm, PeerId, Peers, query};
use karuta::policy::{Chain, Engine, Exchange, Generation, Ruling, Scope, Source, When};
use karuta::swarm::{Memory, Options, Store, Update};
use karuta::{config, data, metrics};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

criterion_group!(benches, parsing, encoding, selection, policies, tokens);
criterion_main!(benches);

/// Peers of an answer.
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
        bencher.iter(|| query::announce(black_box(QUERY)));
    });
}

/// A UDP announce of 98 bytes.
fn packet() -> Vec<u8> {
    let mut packet = vec![0; 98];
    packet[11] = 1; // announce
    packet[92..96].copy_from_slice(&WANT.to_be_bytes());
    packet[96..].copy_from_slice(&6881_u16.to_be_bytes());
    packet
}

fn encoding(criterion: &mut Criterion) {
    let peers = Peers { ipv4: vec![1; 6 * WANT as usize], ..Peers::default() };
    let counts = Counts { seeders: 8, leechers: 56, completed: 3 };
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

/// Announces of peers that the swarm knows.
fn selection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("select");
    for size in [100, 10_000, 1_000_000] {
        let store = Memory::new(Options::default());
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
                now: 0,
            };
            peers.clear();
            let entered = store.announce(&update, &mut rng, &mut peers).now_or_never();
            entered.expect("this store never waits").expect("this store has no limits")
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

/// A policy that does nothing, asks the host for a number, or has its verdict remembered.
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

/// The policy `jwt` on a token of RS256 in the query: judged each time, or remembered.
fn tokens(criterion: &mut Criterion) {
    let Some(component) = component("jwt") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let torrent = InfoHash([0x61; 20]);
    let jwt = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_karuta"));
        command.arg("jwt").args(arguments.split(' ')).current_dir(folder.path());
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    jwt("keygen key.pem --kid k --jwks keys.json");
    let hex = "61".repeat(20);
    let token = jwt(&format!("sign {hex} --key key.pem --kid k --issuer bench --audience bench"));
    let uri = format!("/announce?jwt={token}&{}", std::str::from_utf8(QUERY).expect("text"));
    for (name, remember) in [("token/first sight", "0s"), ("token/remembered", "1h")] {
        let mut chain = chain(&format!(
            "plugin: '{component}', credential: ['query:jwt'], \
             config: {{ issuer: bench, audience: bench, remember: {remember} }}, \
             data: {{ jwks: {{ file: '{}/keys.json', format: raw, required: true }} }}",
            folder.path().display()
        ));
        let mut exchange = Box::new(Exchange::default());
        exchange.request.announce.info_hash = torrent;
        exchange.request.source =
            Source::Http { uri: uri.parse().expect("a URI"), headers: HeaderMap::new() };
        criterion.bench_function(name, |bencher| bencher.iter(|| admit(&mut chain, &mut exchange)));
    }
}

fn admit(chain: &mut Chain, exchange: &mut Box<Exchange>) {
    exchange.begin(exchange.now);
    exchange.answer.reset(1800, 900, WANT);
    assert_eq!(chain.announce(black_box(exchange)), Ruling::Admit);
}

/// The file of a component, where it is built.
fn component(name: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let file = folder.join(format!("{name}.wasm")).display().to_string();
    if !Path::new(&file).exists() {
        eprintln!("left out: a policy, for {file} is not built");
        return None;
    }
    Some(file)
}

/// A chain of one policy.
fn chain(policy: &str) -> Chain {
    let yaml = format!(
        "udp: [{{ listen: '127.0.0.1:0' }}]\n\
         policies: [{{ name: one, {policy} }}]",
    );
    let config =
        config::parse(&yaml, Path::new("config.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let metrics = metrics::Metrics::new(Default::default);
    let engine = Engine::new(None, metrics.plugins()).expect("an engine");
    let opening = data::Opening::new(None, data::Fetch::Soon).expect("no data");
    let scope = Scope {
        max_interval: 3600,
        max_num_want: 200,
        peer_lifetime: config.tracker.peer_lifetime,
        swarms: Arc::new(Memory::new(Options::default())),
    };
    let nothing = Generation::default();
    let (policies, whens) = (&config.policies, vec![When::default()]);
    let generation =
        Generation::load(&engine, policies, whens, &scope, &opening, &nothing, |_| false);
    let generation = generation.unwrap_or_else(|(_, error)| panic!("{}", error.reason));
    let links = generation.prepare(&nothing, 0, 1, &metrics);
    let mut chain = Chain::default();
    chain.adopt(links.unwrap_or_else(|(_, error)| panic!("{}", error.reason)));
    chain
}
