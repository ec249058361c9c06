//! Karuta without policies against Karuta with the shipped ones.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use tempfile::TempDir;

use crate::client::{self, Load};
use crate::tally::Report;
use crate::target::Target;
use crate::{process, swarms};

/// Runs Karuta with and without policies, in turn, and prints one table of medians.
///
/// The daemon has one worker, and keeps to a core; so does the generator.
#[derive(clap::Args)]
pub struct Compare {
    /// The daemon.
    #[arg(long, default_value = "target/release/karuta", value_name = "FILE")]
    karuta: PathBuf,
    /// The folder of the shipped components.
    #[arg(long, default_value = "target/plugins", value_name = "FOLDER")]
    plugins: PathBuf,
    #[command(flatten)]
    load: Load,
    /// How often each case is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each time.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Print every measurement as JSON instead of the table.
    #[arg(long)]
    json: bool,
}

const TRANSPORTS: [&str; 2] = ["UDP", "HTTP keep-alive"];

/// One measurement.
#[derive(Serialize)]
struct Measured {
    policies: &'static str,
    transport: &'static str,
    round: usize,
    #[serde(flatten)]
    report: Report,
}

impl Compare {
    pub fn run(&self) -> Result<()> {
        self.load.check()?;
        ensure!(self.rounds > 0, "rounds: 1 or more");
        process::pin(self.server_core)?;
        let daemons = [
            ("none", Daemon::start(&self.karuta, "")?),
            ("three", Daemon::start(&self.karuta, &shipped(&self.plugins)?)?),
        ];
        process::pin(self.load_core)?;
        for (policies, daemon) in &daemons {
            eprintln!("filling the swarms of the daemon with policies: {policies}");
            client::fill(&daemon.udp, &self.load)?;
        }
        let mut all = Vec::new();
        for round in 1..=self.rounds {
            for (transport, policies, daemon) in TRANSPORTS.iter().flat_map(|transport| {
                daemons.iter().map(move |(policies, daemon)| (*transport, *policies, daemon))
            }) {
                let target = if transport == "UDP" { &daemon.udp } else { &daemon.http };
                let time = Duration::from_secs_f64(self.seconds);
                let report = client::measure(target, &self.load, time, Some(daemon.process.id()))?;
                eprint!("round {round}, {transport}, policies: {policies}\n{report}");
                ensure!(report.is_clean(), "not every answer was right");
                all.push(Measured { policies, transport, round, report });
            }
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&all)?);
        } else {
            print!("{}", table(&all));
        }
        Ok(())
    }
}

fn table(all: &[Measured]) -> String {
    let mut table = String::from(
        "| announce | policies | CPU µs | ratio | added µs | a second | p50 µs | p99 µs |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for transport in TRANSPORTS {
        let median = |policies: &str, value: fn(&Report) -> f64| {
            let of_case = |one: &&Measured| one.policies == policies && one.transport == transport;
            let mut values: Vec<f64> =
                all.iter().filter(of_case).map(|one| value(&one.report)).collect();
            median(&mut values)
        };
        let cpu = |report: &Report| {
            report.server.as_ref().map_or(f64::NAN, |server| server.cpu_us_per_request)
        };
        let bare = median("none", cpu);
        for policies in ["none", "three"] {
            let cost = median(policies, cpu);
            // A string takes whatever is written to it.
            let _ = writeln!(
                table,
                "| {transport} | {policies} | {cost:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
                cost / bare,
                cost - bare,
                median(policies, |report| report.per_second),
                median(policies, |report| report.latency_us.p50),
                median(policies, |report| report.latency_us.p99),
            );
        }
    }
    table
}

/// The one in the middle, or half-way between the two in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values {
        [] => f64::NAN,
        _ => f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]),
    }
}

/// The three policies, none of which refuses the generator's announces.
fn shipped(plugins: &Path) -> Result<String> {
    let plugins = plugins
        .canonicalize()
        .with_context(|| format!("{}: build the components first", plugins.display()))?;
    let plugin = |name: &str| plugins.join(name).display().to_string();
    let clients: Vec<String> =
        ["XL", "SD", "XF", "QD", "BN", "DL", "TS", "XX", "GT", "FG", "BB", "SP"]
            .iter()
            .map(|code| format!("'-{code}'"))
            .collect();
    // The generator's own torrents have lower numbers.
    let torrents: Vec<String> = (0..100)
        .map(|torrent| {
            let hash = swarms::info_hash(u32::MAX - torrent);
            hash.iter().fold(String::from("'"), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            }) + "'"
        })
        .collect();
    Ok(format!(
        "policies:\n\
         - name: clients\n  plugin: {}\n  config: {{ deny: [{}] }}\n\
         - name: torrents\n  plugin: {}\n  config: {{ deny: [{}] }}\n\
         - name: spread\n  plugin: {}\n  \
         config: {{ probability: 0.2, max_increase: 60s, min_interval: true }}\n",
        plugin("client-approval.wasm"),
        clients.join(", "),
        plugin("torrent-approval.wasm"),
        torrents.join(", "),
        plugin("interval-variation.wasm"),
    ))
}

/// A running daemon, on the cores that this process had when it started it.
struct Daemon {
    process: Child,
    _folder: TempDir,
    udp: Target,
    http: Target,
}

impl Daemon {
    fn start(karuta: &Path, policies: &str) -> Result<Self> {
        let karuta = karuta
            .canonicalize()
            .with_context(|| format!("{}: build the daemon first", karuta.display()))?;
        let folder = tempfile::tempdir()?;
        let yaml = format!(
            "tracker: {{ workers: 1 }}\n\
             http: [{{ listen: '127.0.0.1:0' }}]\n\
             udp: [{{ listen: '127.0.0.1:0' }}]\n\
             admin: {{ listen: '127.0.0.1:0' }}\n\
             log: {{ format: json }}\n\
             state_dir: state\n\
             {policies}"
        );
        std::fs::write(folder.path().join("config.yaml"), yaml)?;
        let mut process = Command::new(karuta)
            .arg("run")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = process.stderr.take().context("the daemon's log is piped")?;
        match listeners(BufReader::new(log)) {
            Ok((udp, http)) => Ok(Self { process, _folder: folder, udp, http }),
            Err(error) => {
                process.kill()?;
                process.wait()?;
                Err(error)
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has nothing to lose, and may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads the log until the daemon is ready, and keeps on reading it in a thread.
fn listeners(mut log: impl BufRead + Send + 'static) -> Result<(Target, Target)> {
    let (mut udp, mut http) = (None, None);
    let mut text = String::new();
    loop {
        let begin = text.len();
        if log.read_line(&mut text)? == 0 {
            bail!("the daemon did not get ready:\n{text}");
        }
        let line: serde_json::Value = serde_json::from_str(&text[begin..]).unwrap_or_default();
        let fields = &line["fields"];
        let target = || -> Result<Target> {
            let transport = fields["transport"].as_str().context("a listener's transport")?;
            let address = fields["address"].as_str().context("a listener's address")?;
            format!("{transport}://{address}").parse()
        };
        match (fields["message"].as_str(), fields["transport"].as_str()) {
            (Some("listening"), Some("udp")) => udp = Some(target()?),
            (Some("listening"), Some("http")) => http = Some(target()?),
            (Some("ready"), _) => break,
            _ => {}
        }
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    udp.zip(http).context("a daemon that listens on UDP and HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }
}
