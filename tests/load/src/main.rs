//! A load generator for BitTorrent trackers. It checks every answer, and reports what the requests
//! cost the tracker's process.
//!
//! It runs on one thread, so that it can have its own core beside the tracker's.

mod bare;
mod bench;
mod bencode;
mod client;
mod http;
mod process;
mod slots;
mod spread;
mod swarms;
mod tally;
mod target;
mod udp;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use client::Load;
use target::Target;

#[derive(Parser)]
#[command(name = "karuta-load", version, about = "A load generator for BitTorrent trackers.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Puts load on a tracker.
    Run(Run),
    /// Answers without being a tracker.
    Bare(bare::Bare),
    /// Compares Karuta, without and with policies, with other trackers and with bare sockets.
    Bench(bench::Bench),
}

#[derive(clap::Args)]
struct Run {
    /// udp://ADDRESS:PORT or http://ADDRESS:PORT/PATH; the address must be numeric.
    target: Target,
    #[command(flatten)]
    load: Load,
    /// The tracker that fills the swarms first; by default the target itself.
    #[arg(long, value_name = "URL")]
    fill: Option<Target>,
    /// Use the swarms as an earlier run left them.
    #[arg(long, conflicts_with = "fill")]
    no_fill: bool,
    /// How long to measure.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The tracker's process, whose CPU time and memory are measured.
    #[arg(long)]
    pid: Option<u32>,
    /// The core to run on.
    #[arg(long)]
    core: Option<usize>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(run) => measure(&run),
        Command::Bare(bare) => bare.run(),
        Command::Bench(bench) => bench.run(),
    }
}

fn measure(run: &Run) -> Result<()> {
    run.load.check()?;
    if let Some(core) = run.core {
        process::pin(&[core])?;
    }
    if !run.no_fill {
        client::fill(run.fill.as_ref().unwrap_or(&run.target), &run.load)?;
    }
    let report =
        client::measure(&run.target, &run.load, Duration::from_secs_f64(run.seconds), run.pid)?;
    if run.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    ensure!(report.is_clean(), "not every answer was right");
    Ok(())
}
