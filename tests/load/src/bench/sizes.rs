//! Measures how the size of a swarm affects an announce, with a separate address for every peer.

use anyhow::{Result, ensure};

use super::server::{self, Server, Setting};
use super::{Bench, Measured};
use crate::client::{Clients, Load};
use crate::process;

pub const TITLE: &str = "UDP announce, swarms of 100 and of a million";

/// The number of peers per swarm. Both have the same total, so that memory use does not differ.
const SMALL: u32 = 100;
const LARGE: u32 = 1_000_000;

/// Measures without policies and with locality plans.
pub fn measure(bench: &Bench) -> Result<Vec<Measured>> {
    let mut running = Vec::new();
    for (name, peers) in [
        ("Karuta", SMALL),
        ("Karuta, one swarm", LARGE),
        ("Karuta, subnet", SMALL),
        ("Karuta, subnet, one swarm", LARGE),
    ] {
        if !bench.wants_server(name) {
            continue;
        }
        let policies = match name.contains("subnet") {
            true => server::one(&bench.plugins, "subnet", server::SUBNET)?,
            false => String::new(),
        };
        process::pin(&[bench.server_core])?;
        let setting = Setting { policies: &policies, ..Setting::default() };
        let server = Server::karuta(&bench.karuta, name, &setting)?;
        process::pin(&[bench.load_core])?;
        let load = Load { torrents: LARGE / peers, peers, spread: true, ..bench.load.clone() };
        let Some(target) = &server.udp else { continue };
        eprintln!("filling the swarms of {name}, {peers} peers each");
        let mut clients = Clients::new(target, &load)?;
        let asked = clients.fill()?;
        server.pause()?;
        running.push((server, clients, asked));
    }
    let mut all = Vec::new();
    for round in 1..=bench.rounds {
        for (server, clients, asked) in &mut running {
            let one = Measured::of(TITLE, server, round, || {
                clients.measure(bench.time(), Some(server.pid()))
            })?;
            ensure!(one.report.is_clean(), "not every answer was right");
            *asked += one.report.asked;
            all.push(one);
        }
    }
    for (server, _, asked) in &running {
        server.resume()?;
        server.check_count(*asked)?;
    }
    Ok(all)
}
