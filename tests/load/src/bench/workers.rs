//! Compares the throughput of two workers with that of one. Each worker has a core, and two
//! generators have one each.

use anyhow::{Context, Result, bail, ensure};

use super::server::{Server, Setting};
use super::{Bench, Measured};
use crate::tally::Report;
use crate::{client, process};

pub const TITLE: &str = "UDP announce, workers with a core each";

/// The number of cores needed.
pub const CORES: usize = 4;

/// Measures on the first of these cores.
pub fn measure(bench: &Bench, cores: [usize; CORES]) -> Result<Vec<Measured>> {
    let (of_workers, of_load) = cores.split_at(2);
    let mut running = Vec::new();
    for (name, workers) in [("Karuta", 1), ("Karuta, two workers", 2)] {
        if !bench.wants_server(name) {
            continue;
        }
        process::pin(&of_workers[..workers])?;
        let setting = Setting { workers, ..Setting::default() };
        let server = Server::karuta(&bench.karuta, name, &setting)?;
        process::pin(of_load)?;
        eprintln!("filling the swarms of {name}");
        if let Some(target) = &server.udp {
            client::fill(target, &bench.load)?;
        }
        server.pause()?;
        running.push(server);
    }
    let mut all = Vec::new();
    for round in 1..=bench.rounds {
        for server in &running {
            let one = Measured::of(TITLE, server, round, || loaded(bench, server, of_load))?;
            ensure!(one.report.is_clean(), "not every answer was right");
            all.push(one);
        }
    }
    Ok(all)
}

/// Runs a generator on each of the cores at the same time.
fn loaded(bench: &Bench, server: &Server, cores: &[usize]) -> Result<Report> {
    let target = server.udp.as_ref().context("it has no UDP")?;
    std::thread::scope(|scope| {
        let generators: Vec<_> = cores
            .iter()
            .map(|core| {
                scope.spawn(|| {
                    process::pin(&[*core])?;
                    client::measure(target, &bench.load, bench.time(), Some(server.pid()))
                })
            })
            .collect();
        let reports: Result<Vec<_>> = generators
            .into_iter()
            .map(|generator| generator.join().unwrap_or_else(|_| bail!("a generator panicked")))
            .collect();
        reports?.into_iter().reduce(Report::beside).context("no generators")
    })
}
