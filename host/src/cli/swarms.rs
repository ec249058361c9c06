//! Commands about swarms: `stats`, `top`, `swarm`, `export` and `import`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Failure, connect, text};
use crate::admin::{Imported, Remote};
use crate::export::{Format, Prefix};
use crate::file;
use crate::import;
use crate::text::Escaped;
use crate::time;

#[derive(Args)]
pub struct Stats {
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Print again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

#[derive(Args)]
pub struct Top {
    /// What torrents are ranked by; or `network`, for the networks with the most peers.
    #[arg(
        long,
        default_value = "peers",
        value_parser = ["peers", "seeders", "leechers", "downloads", "network"]
    )]
    by: String,
    /// How many to show, 1 to 1000.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    n: u16,
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Swarm {
    /// 40 hexadecimal digits, or 20 bytes escaped as in the URL of an announce.
    info_hash: String,
    /// How many of its peers to show, up to 1000.
    #[arg(long, default_value_t = 0, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(..=1000))]
    peers: u16,
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Export {
    #[arg(long)]
    format: Format,
    /// Leave out torrents with fewer peers.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    min_peers: u32,
    /// Only torrents whose info-hash begins with these hexadecimal digits.
    #[arg(long, value_name = "DIGITS")]
    prefix: Option<String>,
    /// Write the peers of each torrent, in the format `ndjson`.
    #[arg(long)]
    peers: bool,
    /// The file to write, which is replaced when the export is whole [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub struct Import {
    #[arg(long)]
    format: import::Format,
    /// The file to read.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// Leave out lines that cannot be read. Without this, one of them is enough to import nothing.
    #[arg(long)]
    skip_bad: bool,
    #[command(flatten)]
    remote: Remote,
}

/// About how many bytes of a file are sent at once.
const BATCH: usize = 1 << 20;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

pub fn stats(Stats { remote, json, watch }: Stats) -> Result<(), Failure> {
    let client = connect(remote)?;
    loop {
        let stats = client.get("/api/stats")?;
        if json {
            println!("{stats:#}");
            return Ok(());
        }
        if watch && io::stdout().is_terminal() {
            // Clears the screen.
            print!("\x1b[H\x1b[2J");
        }
        print!("{}", shown(&stats));
        if !watch {
            return Ok(());
        }
        println!();
        io::stdout().flush().map_err(|error| error.to_string())?;
        thread::sleep(PAUSE);
    }
}

/// Returns the statistics as a table.
fn shown(stats: &Value) -> String {
    let mut lines = vec![format!("up {} s, {} swarms", stats["uptime_seconds"], stats["swarms"])];
    for family in ["ipv4", "ipv6"] {
        let of = &stats["peers"][family];
        lines.push(format!("{family}  {} seeders, {} leechers", of["seeders"], of["leechers"]));
    }
    if let Some(bytes) = stats["memory_bytes"].as_u64() {
        lines.push(format!("memory {} MiB", bytes >> 20));
    }
    let time = |key: &str| stats["latency_seconds"][key].as_f64().map(time);
    if let (Some(p50), Some(p99)) = (time("p50"), time("p99")) {
        lines.push(format!("half answered within {p50}, 99 % within {p99}, in the last minute"));
    }
    lines.push(format!(
        "\n{:<16} {:>12} {:>10} {:>10}  NOT OK",
        "REQUESTS", "TOTAL", "10 S", "60 S"
    ));
    for (transport, actions) in stats["requests"].as_object().into_iter().flatten() {
        for (action, kind) in actions.as_object().into_iter().flatten() {
            if kind["total"] == 0 {
                continue;
            }
            let outcomes = kind["by_outcome"].as_object().into_iter().flatten();
            let others = outcomes.filter(|(outcome, count)| *outcome != "ok" && **count != 0);
            let others: Vec<_> =
                others.map(|(outcome, count)| format!("{count} {outcome}")).collect();
            let rate = |over: &str| kind["per_second"][over].as_f64().unwrap_or_default();
            lines.push(format!(
                "{:<16} {:>12} {:>8.1}/s {:>8.1}/s  {}",
                format!("{transport} {action}"),
                kind["total"],
                rate("10s"),
                rate("60s"),
                others.join(", ")
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Formats a time in its unit.
fn time(seconds: f64) -> String {
    match seconds {
        ..1e-3 => format!("{:.0} µs", 1e6 * seconds),
        ..1.0 => format!("{:.1} ms", 1e3 * seconds),
        _ => format!("{seconds:.1} s"),
    }
}

pub fn top(Top { by, n, remote, json }: Top) -> Result<(), Failure> {
    let top = connect(remote)?.get(&format!("/api/top?by={by}&n={n}"))?;
    if json {
        println!("{top:#}");
        return Ok(());
    }
    if by == "network" {
        println!("{:<40} {:>10}", "NETWORK", "PEERS");
        for one in top["networks"].as_array().into_iter().flatten() {
            println!("{:<40} {:>10}", text(&one["network"]), one["peers"].to_string());
        }
        println!("of {} peers", top["peers"]);
        if top["error"] != 0 {
            println!("there are very many networks: counts may be too low by {}", top["error"]);
        }
        return Ok(());
    }
    let since_1970 = time::since_1970().as_secs();
    let age = since_1970.saturating_sub(top["as_of"].as_u64().unwrap_or(since_1970));
    if top["torrents"].as_array().is_none_or(Vec::is_empty) {
        println!("no torrent has any {by} (as of {age} s ago)");
        return Ok(());
    }
    println!("by {by}, as of {age} s ago");
    println!(
        "{:<40} {:>10} {:>10} {:>10} {:>10}",
        "INFO-HASH", "SEEDERS", "LEECHERS", "DOWNLOADS", "IN 1 H"
    );
    for torrent in top["torrents"].as_array().into_iter().flatten() {
        let [seeders, leechers, downloads] =
            ["complete", "incomplete", "downloaded"].map(|key| torrent[key].to_string());
        let growth = torrent["growth"].as_i64().map(|growth| format!("{growth:+}"));
        let growth = growth.as_deref().unwrap_or("unknown");
        println!(
            "{:<40} {seeders:>10} {leechers:>10} {downloads:>10} {growth:>10}",
            text(&torrent["info_hash"])
        );
    }
    Ok(())
}

pub fn swarm(Swarm { info_hash, peers, remote, json }: Swarm) -> Result<(), Failure> {
    if !info_hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte)) {
        return Err(format!("`{}` is not an info-hash", Escaped(info_hash)).into());
    }
    let path = format!("/api/swarms/{info_hash}?peers={peers}");
    let swarm = connect(remote)?.get(&path)?;
    if json {
        println!("{swarm:#}");
        return Ok(());
    }
    println!("{}", text(&swarm["info_hash"]));
    println!(
        "{} seeders, {} leechers ({} of them want no more), {} downloads",
        swarm["complete"], swarm["incomplete"], swarm["partial_seeds"], swarm["downloaded"]
    );
    for family in ["ipv4", "ipv6"] {
        let of = &swarm[family];
        println!("{family}: {} seeders, {} leechers", of["seeders"], of["leechers"]);
    }
    println!("{} have a label, by which near peers are found", swarm["labelled"]);
    if let Some(ages) = swarm["age_seconds"].as_object() {
        println!(
            "announced {} to {} s ago, {} s on average",
            ages["youngest"], ages["oldest"], ages["mean"]
        );
    }
    for peer in swarm["peers"].as_array().into_iter().flatten() {
        let label = match peer["hidden"] == true {
            true => "hidden",
            false => peer["label"].as_str().unwrap_or_default(),
        };
        let age = format!("{} s ago", peer["age_seconds"]);
        println!("  {:<47} {:<13} {age:>10}  {label}", text(&peer["address"]), text(&peer["role"]));
    }
    Ok(())
}

pub fn export(wanted: Export) -> Result<(), Failure> {
    let Export { format, min_peers, prefix, peers, out, remote } = wanted;
    let prefix = prefix.unwrap_or_default();
    let checked: Result<Prefix, _> = prefix.parse();
    checked.map_err(|error| format!("--prefix: {error}"))?;
    let path = format!(
        "/api/export?format={}&min_peers={min_peers}&prefix={prefix}&peers={}",
        format.name(),
        u8::from(peers)
    );
    let client = connect(remote)?;
    match out {
        None => client.download(&path, &mut io::stdout().lock())?,
        Some(file) => {
            let written = file::replace(&file, |to| {
                let mut buffer = BufWriter::new(to);
                client.download(&path, &mut buffer).map_err(io::Error::other)?;
                buffer.flush()
            });
            written.map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    Ok(())
}

pub fn import(wanted: Import) -> Result<(), Failure> {
    let Import { format, from, skip_bad, remote } = wanted;
    let failed = |reason: String| format!("{}: {reason}", from.display());
    if !skip_bad {
        check(format, &from).map_err(failed)?;
    }
    let client = connect(remote)?;
    let path = format!("/api/import?format={}&skip_bad={}", format.name(), u8::from(skip_bad));
    let mut all = Imported::default();
    let mut send = |lines: &mut Vec<u8>| -> Result<(), String> {
        let sent = client.import(&path, std::mem::take(lines))?;
        all.torrents += sent.torrents;
        all.skipped += sent.skipped;
        all.peers.entered += sent.peers.entered;
        all.peers.expired += sent.peers.expired;
        all.peers.refused += sent.peers.refused;
        Ok(())
    };
    let mut batch = Vec::new();
    for_each_line(&from, |line| {
        if !batch.is_empty() && batch.len() + line.len() > BATCH {
            send(&mut batch)?;
        }
        batch.extend_from_slice(line);
        Ok(())
    })
    .and_then(|()| send(&mut batch))
    .map_err(failed)?;
    let Imported { torrents, skipped, peers } = all;
    println!("imported {torrents} torrents and {} peers", peers.entered);
    for (count, reason) in [
        (skipped, "lines could not be read"),
        (peers.expired, "peers have been silent for too long"),
        (peers.refused, "peers were refused by limits"),
    ] {
        if count > 0 {
            println!("{count} {reason}");
        }
    }
    Ok(())
}

/// Returns an error that names the first line that cannot be read.
fn check(format: import::Format, file: &Path) -> Result<(), String> {
    let now = time::since_1970().as_secs();
    let (mut number, mut pieces) = (0, Vec::new());
    for_each_line(file, |line| {
        number += 1;
        pieces.clear();
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let read = format.read(line, now, &mut pieces);
        read.map_err(|reason| format!("line {number}: {reason}; nothing was imported"))
    })
}

/// Reads a file line by line. Each line keeps its line break.
fn for_each_line(
    file: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let mut file = BufReader::new(File::open(file).map_err(text)?);
    let mut line = Vec::new();
    let most = import::LONGEST as u64;
    while file.by_ref().take(most).read_until(b'\n', &mut line).map_err(text)? > 0 {
        if line.len() as u64 == most {
            return Err(format!("a line is longer than {} MiB", most >> 20));
        }
        take(&line)?;
        line.clear();
    }
    Ok(())
}
