//! Measures what a token adds to an announce: checked natively, by the policy `jwt` when it is new,
//! and remembered. `make bench` ends with it.
//!
//! Each measures the same announce, from its query to the verdict, in turns of some milliseconds,
//! so that a slow phase of the machine affects all of them.

mod common;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use hyper::Uri;
use karuta::exchange::{Exchange, Ruling};
use karuta::policy::Chain;
use karuta_bittorrent::query;
use karuta_load::judge::{ISSUER, Judge};
use karuta_load::signed::Signed;

const TURNS: usize = 400;
const TURN: Duration = Duration::from_millis(8);
/// Announces between two readings of the clock.
const BATCH: u32 = 32;

/// The letter `a`, which fills the torrent's info-hash.
const TORRENT: &str = "61";
const REST: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=-KL0001-%00%01%02%03%04%05%06%07%08%09%0a%0b\
    &port=6881&uploaded=0&downloaded=0&left=1073741824&compact=1&numwant=50";

fn main() {
    // `cargo test` builds benchmarks, and may run them.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(component) = common::component("jwt") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let karuta = Path::new(env!("CARGO_BIN_EXE_karuta"));
    let signed = Signed::make(karuta, folder.path(), &TORRENT.repeat(20));
    let Signed { token, keys } = signed.expect("a token");
    let uri = format!("/announce?jwt={token}&{REST}").parse().expect("a target");
    let judge = Judge::of(&keys).expect("a native judge");
    let policy = |remember: &str| {
        let keys = keys.display();
        common::chain(&format!(
            "plugin: '{component}', credential: ['query:jwt'], \
             config: {{ issuer: {ISSUER}, audience: {ISSUER}, remember: {remember} }}, \
             data: {{ jwks: {{ file: '{keys}', format: raw, required: true }} }}"
        ))
    };
    let mut nothing = Asked::new(&uri, Chain::default(), None);
    let mut others = [
        ("judged natively", Asked::new(&uri, Chain::default(), Some(judge))),
        ("jwt, at first sight", Asked::new(&uri, policy("0s"), None)),
        ("jwt, remembered", Asked::new(&uri, policy("1h"), None)),
    ];
    let mut plain = Vec::new();
    let mut added = [const { Vec::new() }; 3];
    for turn in 0..=TURNS {
        let without = nothing.turn();
        let with = others.each_mut().map(|(_, asked)| asked.turn());
        // The first turn fills the caches.
        if turn > 0 {
            plain.push(without);
            added.iter_mut().zip(with).for_each(|(added, with)| added.push(with - without));
        }
    }
    let natively = added[0].clone();
    println!(
        "| a token in a loop of its own | added µs | quartiles | × natively |\n|---|---|---|---|"
    );
    for ((name, _), added) in others.iter().zip(&added) {
        let mut ratios: Vec<f64> = added.iter().zip(&natively).map(|(a, b)| a / b).collect();
        let [low, middle, high] = quartiles(&mut added.clone());
        let [_, ratio, _] = quartiles(&mut ratios);
        println!("| {name} | {middle:.2} | {low:.2} to {high:.2} | {ratio:.2} |");
    }
    let [low, middle, high] = quartiles(&mut plain);
    println!(
        "\nAdded to {middle:.2} µs ({low:.2} to {high:.2}) for reading the announce; {TURNS} turns."
    );
}

/// One announce that is repeated.
struct Asked {
    uri: Uri,
    exchange: Box<Exchange>,
    chain: Chain,
    judge: Option<Judge>,
}

impl Asked {
    fn new(uri: &Uri, chain: Chain, judge: Option<Judge>) -> Self {
        Self { uri: uri.clone(), exchange: Box::default(), chain, judge }
    }

    /// Returns microseconds per announce.
    fn turn(&mut self) -> f64 {
        let (mut announces, start) = (0, Instant::now());
        loop {
            for _ in 0..BATCH {
                self.announce();
            }
            announces += BATCH;
            let spent = start.elapsed();
            if spent >= TURN {
                return spent.as_secs_f64() * 1e6 / f64::from(announces);
            }
        }
    }

    fn announce(&mut self) {
        let exchange = black_box(&mut self.exchange);
        let request = &mut exchange.request;
        let headers = request.target.make().take_headers();
        request.target.make().over_http(self.uri.clone(), headers);
        let (query, parameters) = request.target.make().query();
        request.announce = query::announce(query, parameters).expect("an announce");
        exchange.begin(exchange.now, false);
        exchange.answer.reset(1800, 900, 50);
        if let Some(judge) = &self.judge {
            let request = &exchange.request;
            let token = request
                .target
                .get()
                .and_then(|target| target.query_parameter("jwt"))
                .expect("a token");
            judge.judge(&token, request.announce.info_hash.0).expect("a good token");
        }
        self.chain.announce(std::slice::from_mut(exchange));
        assert_eq!(exchange.answer.ruling, Ruling::Open);
    }
}

fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
