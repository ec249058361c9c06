//! What it costs to share swarms: the worker's thread, the thread `share`, and the engine, whose cost
//! is compared with that of the commands of chihaya's store in Redis.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use karuta_tests::engines::resp::{self, Client};
use karuta_tests::engines::{Cluster, Engine, Single, cpu_of};

use super::server::{Server, Setting};
use super::{Bench, table::median};
use crate::client::{self, Load};
use crate::process;
use crate::swarms;

pub const TITLE: &str = "shared";

const NODES: usize = 3;
/// Announces a second at each of the nodes.
const RATE: f64 = 10_000.0;
/// How many connections send chihaya's commands.
const CONNECTIONS: u32 = 32;

/// Measures with the newest engine that is there, and returns a table.
pub fn measure(bench: &Bench) -> Result<String> {
    let Some(engine) = Engine::newest() else {
        return Ok(format!("{TITLE}: not measured, `tests/setup cluster` has found no engine\n"));
    };
    let cores = process::cores()?;
    let mut rows = Vec::new();
    worker(bench, &engine, &mut rows)?;
    process::pin(&cores)?;
    let ours = nodes(bench, &engine, &mut rows)?;
    process::pin(&cores)?;
    let theirs = chihaya(bench, &engine, &mut rows)?;
    let mut table = format!("| {TITLE}, {} | CPU µs an announce |\n|---|---|\n", engine.name);
    for (name, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| {name} | {value:.2} |");
    }
    let _ = writeln!(table, "| chihaya's to ours | {:.1} × |", theirs / ours);
    Ok(table)
}

type Rows = Vec<(String, f64)>;

/// Measures one node at its most, with and without sharing, in turns.
fn worker(bench: &Bench, engine: &Engine, rows: &mut Rows) -> Result<()> {
    process::pin(&[bench.load_core])?;
    let cluster = Cluster::start(engine);
    process::pin(&[bench.server_core])?;
    let share = cluster.share("");
    let start = |share: &str| {
        let setting = Setting { policies: share, ..Setting::default() };
        Server::karuta(&bench.karuta, "Karuta", &setting)
    };
    let servers = [start("")?, start(&share)?];
    process::pin(&[bench.load_core])?;
    for server in &servers {
        client::fill(udp(server)?, &bench.load)?;
        server.pause()?;
    }
    let [mut alone, mut sharing, mut ratios, mut thread] = [const { Vec::new() }; 4];
    for round in 0..bench.rounds {
        let mut both = [0.0; 2];
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let server = &servers[at];
            server.resume()?;
            let used = |name| cpu_of(server.pid(), name);
            let before = [used("worker-"), used("share")];
            let report = client::measure(udp(server)?, &bench.load, bench.time(), None)?;
            let after = [used("worker-"), used("share")];
            server.pause()?;
            ensure!(report.is_clean(), "not every answer was right: {report}");
            let [worker, share] =
                [0, 1].map(|at| microseconds(after[at] - before[at], report.asked));
            both[at] = worker;
            if at == 1 {
                thread.push(share);
            }
        }
        alone.push(both[0]);
        sharing.push(both[1]);
        ratios.push(both[1] / both[0]);
    }
    rows.push(("the worker, alone".to_owned(), median(&mut alone)));
    rows.push(("the worker, sharing".to_owned(), median(&mut sharing)));
    rows.push(("sharing to alone, in a round".to_owned(), median(&mut ratios)));
    rows.push(("the thread `share`, of a node at its most".to_owned(), median(&mut thread)));
    Ok(())
}

/// Measures the engine of several nodes. Returns its cost.
fn nodes(bench: &Bench, engine: &Engine, rows: &mut Rows) -> Result<f64> {
    let cluster = Cluster::start(engine);
    let share = cluster.share("");
    let setting = Setting { policies: &share, ..Setting::default() };
    let start = |_| Server::karuta(&bench.karuta, "Karuta, shared", &setting);
    let servers: Vec<Server> = (0..NODES).map(start).collect::<Result<_>>()?;
    for server in &servers {
        client::fill(udp(server)?, &bench.load)?;
    }
    let load = Load { rate: Some(RATE), ..bench.load.clone() };
    let (mut engine, mut thread) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let used = || servers.iter().map(|one| cpu_of(one.pid(), "share")).sum::<Duration>();
        let before = (cluster.cpu(), used());
        let asked: u64 = std::thread::scope(|scope| {
            let loads = servers.iter().map(|server| {
                scope.spawn(|| {
                    process::pin(&[bench.load_core])?;
                    let report = client::measure(udp(server)?, &load, bench.time(), None)?;
                    ensure!(report.is_clean(), "not every answer was right: {report}");
                    Ok(report.asked)
                })
            });
            let loads: Vec<_> = loads.collect();
            let asked = loads.into_iter().map(|load| match load.join() {
                Ok(asked) => asked,
                Err(_) => bail!("a generator panicked"),
            });
            asked.sum::<Result<u64>>()
        })?;
        engine.push(microseconds(cluster.cpu() - before.0, asked));
        // Each node applies what all have announced.
        thread.push(microseconds(used() - before.1, NODES as u64 * asked));
    }
    let engine = median(&mut engine);
    rows.push((format!("the engine, six servers, {NODES} × {RATE}/s"), engine));
    rows.push((format!("the thread `share`, a record, {NODES} × {RATE}/s"), median(&mut thread)));
    Ok(engine)
}

/// Measures a single server under chihaya's commands, as many as it answers. Returns its cost.
fn chihaya(bench: &Bench, engine: &Engine, rows: &mut Rows) -> Result<f64> {
    let single = Single::start(engine, &[]);
    let address = single.server.address;
    fill(address, &bench.load)?;
    let mut costs = Vec::new();
    for _ in 0..bench.rounds {
        let before = single.cpu();
        let until = Instant::now() + bench.time();
        let announce = |number| {
            let load = bench.load.clone();
            std::thread::spawn(move || announce(address, &load, number, until))
        };
        let connections: Vec<JoinHandle<io::Result<u64>>> =
            (0..CONNECTIONS).map(announce).collect();
        let mut announces = 0;
        for connection in connections {
            announces += connection.join().map_err(|_| anyhow!("a connection panicked"))??;
        }
        costs.push(microseconds(single.cpu() - before, announces));
    }
    let cost = median(&mut costs);
    rows.push((format!("the engine under chihaya's commands, {CONNECTIONS} connections"), cost));
    Ok(cost)
}

/// Enters the peers of all swarms, as chihaya's store does.
fn fill(address: SocketAddr, load: &Load) -> Result<()> {
    let mut client = Client::connect(address)?;
    for torrent in 0..load.torrents {
        let mut commands = Vec::new();
        for peer in 0..load.peers {
            let key = key(torrent, load.is_seeder(peer));
            resp::write(&mut commands, &[b"HSET", &*key, &field(torrent, peer), NOW]);
        }
        client.send(&commands)?;
        for _ in 0..load.peers {
            client.answer()?.map_err(|error| anyhow!(error))?;
        }
    }
    Ok(())
}

/// Announces random peers on one connection, and waits for each answer as chihaya does: it enters the
/// peer in a transaction, asks for both counts, and then for all seeders and all leechers.
fn announce(address: SocketAddr, load: &Load, number: u32, until: Instant) -> io::Result<u64> {
    let mut client = Client::connect(address)?;
    let mut random = u64::from(number) << 32 | 0x9e37_79b9;
    let mut below = |end: u32| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 32) as u32 % end
    };
    let mut announces = 0;
    let mut commands = Vec::new();
    while Instant::now() < until {
        let (torrent, peer) = (below(load.torrents), below(load.peers));
        let [seeders, leechers] = [true, false].map(|is_seeder| key(torrent, is_seeder));
        let own = if load.is_seeder(peer) { &seeders } else { &leechers };
        commands.clear();
        resp::write(&mut commands, &["MULTI"]);
        resp::write(&mut commands, &[b"HSET", &**own, &field(torrent, peer), NOW]);
        resp::write(&mut commands, &[b"HSET", b"IPv4", &**own, NOW]);
        resp::write(&mut commands, &["EXEC"]);
        client.send(&commands)?;
        for _ in 0..4 {
            client.answer()?.map_err(io::Error::other)?;
        }
        for (command, key) in
            [("HLEN", &leechers), ("HLEN", &seeders), ("HKEYS", &leechers), ("HKEYS", &seeders)]
        {
            let answer = client.exchange(&[command.as_bytes(), key])?;
            answer.map_err(io::Error::other)?;
        }
        announces += 1;
    }
    Ok(announces)
}

/// A time in nanoseconds since 1970.
const NOW: &[u8] = b"1764442800000000000";

/// Returns the key of one role's peers in a swarm: the info-hash stands there in hexadecimal.
fn key(torrent: u32, is_seeder: bool) -> Vec<u8> {
    let role = if is_seeder { 'S' } else { 'L' };
    format!("IPv4_{role}_{}", super::server::hex(&swarms::info_hash(torrent))).into_bytes()
}

/// Returns a peer's field: peer id, port and address.
fn field(torrent: u32, peer: u32) -> Vec<u8> {
    let mut field = swarms::peer_id(torrent, peer).to_vec();
    field.extend(swarms::port(peer).to_be_bytes());
    field.extend([127, 0, 1, 1]);
    field
}

fn udp(server: &Server) -> Result<&crate::target::Target> {
    server.udp.as_ref().context("it has no UDP")
}

fn microseconds(used: Duration, count: u64) -> f64 {
    used.as_secs_f64() * 1e6 / count as f64
}
