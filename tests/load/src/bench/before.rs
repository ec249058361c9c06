//! Compares this build with an earlier one, and with itself without the flight recorder.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::server::{self, Server, Setting, TARGETS};
use super::table::{self, Turns};
use super::{Bench, THREE};
use crate::client;
use crate::process;
use crate::target::Transport;

pub const TITLE: &str = "before and after";
pub const RECORDER: &str = "without and with the flight recorder";

/// The number of processes of each build. Two processes of one build differ by a few percent,
/// because their memory is laid out differently. Of half of the pairs, one side is started first, and of the
/// other half, the other one.
const PROCESSES: usize = 4;

/// One process of each build, with the same settings.
struct Pair {
    before: Running,
    after: Running,
}

struct Running {
    server: Server,
    asked: u64,
}

/// What is compared: a build, and more YAML for it.
#[derive(Clone, Copy)]
struct Side<'a> {
    program: &'a Path,
    more: &'a str,
}

/// Compares an earlier build with this one.
pub fn measure(bench: &Bench, before: &Path, folder: &Path) -> Result<String> {
    let sides = [before, &bench.karuta].map(|program| Side { program, more: "" });
    compare(bench, folder, [TITLE, "CPU µs before", "after", "after / before"], sides)
}

/// Compares this build without and with the flight recorder.
pub fn recorder(bench: &Bench, folder: &Path) -> Result<String> {
    let program = &*bench.karuta;
    let sides = ["record: false\n", ""].map(|more| Side { program, more });
    compare(bench, folder, [RECORDER, "CPU µs without", "with", "with / without"], sides)
}

/// Measures both sides in turn, over UDP and HTTP, without policies and with three, and returns a
/// table.
///
/// Only adjacent turns are compared, so that a machine that is slow for a while is slow for both.
fn compare(
    bench: &Bench,
    folder: &Path,
    head: [&'static str; 4],
    [one, other]: [Side; 2],
) -> Result<String> {
    let mut rows = Vec::new();
    for name in ["Karuta", THREE] {
        if !bench.wants_server(name) {
            continue;
        }
        let policies = match name {
            THREE => server::targets(&bench.plugins, folder, &TARGETS)?,
            _ => String::new(),
        };
        let start = |Side { program, more }: Side| -> Result<Running> {
            process::pin(&[bench.server_core])?;
            let policies = format!("{policies}{more}");
            let setting = Setting { policies: &policies, ..Setting::default() };
            let server = Server::karuta(program, name, &setting)?;
            process::pin(&[bench.load_core])?;
            let target = server.udp.as_ref().context("it has no UDP")?;
            let asked = client::fill(target, &bench.load)?;
            server.pause()?;
            Ok(Running { server, asked })
        };
        eprintln!("filling the swarms of {name}, {}", head[0]);
        let mut pairs = Vec::new();
        for number in 0..PROCESSES {
            let first = (number % 2 == 0).then(|| start(one)).transpose()?;
            let after = start(other)?;
            let before = first.map_or_else(|| start(one), Ok)?;
            pairs.push(Pair { before, after });
        }
        for transport in [Transport::Udp, Transport::Http] {
            rows.push(row(bench, name, transport, &mut pairs)?);
        }
        for Pair { before, after } in pairs {
            before.check()?;
            after.check()?;
        }
    }
    Ok(table::turns(head, &mut rows))
}

fn row(bench: &Bench, name: &str, transport: Transport, pairs: &mut [Pair]) -> Result<Turns> {
    let over = match transport {
        Transport::Udp => "UDP",
        Transport::Http => "HTTP keep-alive",
    };
    let mut row = Turns::new(format!("{over}, {name}"));
    for round in 0..bench.rounds {
        for Pair { before, after } in &mut *pairs {
            // The first one may find the caches as others left them.
            let (first, second) = if round % 2 == 0 { (before, after) } else { (after, before) };
            let [first, second] = [first, second].map(|one| one.turn(bench, transport));
            let (before, after) =
                if round % 2 == 0 { (first?, second?) } else { (second?, first?) };
            row.one.push(before);
            row.other.push(after);
        }
    }
    eprintln!("{} measured", row.name);
    Ok(row)
}

impl Running {
    /// Puts it under load, and returns the µs of CPU per request.
    fn turn(&mut self, bench: &Bench, transport: Transport) -> Result<f64> {
        let Self { server, asked } = self;
        let target = match transport {
            Transport::Udp => &server.udp,
            Transport::Http => &server.http,
        };
        let target = target.as_ref().context("it lacks a listener")?;
        server.resume()?;
        let report = client::measure(target, &bench.load, bench.time(), Some(server.pid()))?;
        server.pause()?;
        ensure!(report.is_clean(), "not every answer was right");
        *asked += report.asked;
        Ok(report.server.context("its process is gone")?.cpu_us_per_request)
    }

    fn check(&self) -> Result<()> {
        self.server.resume()?;
        self.server.check_count(self.asked)
    }
}
