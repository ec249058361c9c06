//! Real engines for trackers that share their swarms: Redis and Valkey, as single servers and as
//! clusters.

mod cluster;
pub mod resp;
mod server;
pub mod shelter;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use cluster::Cluster;
pub use server::{Server, cpu_of, free_port};

use crate::target;
use crate::tls::{Authority, Client};
use shelter::Shelter;

/// A server's program.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Such as `valkey-9.1`.
    pub name: String,
    program: PathBuf,
}

impl Engine {
    /// Returns those that `tests/setup cluster` has found, the oldest Redis first. With
    /// `KARUTA_ENGINE`, only that one. If there is none, tests must be skipped; in CI, they fail.
    pub fn all() -> Vec<Self> {
        let folder = target().parent().expect("a target folder").join("engines");
        let wanted = std::env::var("KARUTA_ENGINE").ok();
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut all: Vec<_> = files
            .map(|file| Self {
                name: file.file_name().to_string_lossy().into_owned(),
                program: file.path(),
            })
            .filter(|engine| engine.program.is_file())
            .filter(|engine| wanted.as_ref().is_none_or(|wanted| *wanted == engine.name))
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        if all.is_empty() {
            let why = "no engine is there; `make test` installs some on Debian";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped: {why}");
        }
        all
    }

    /// Returns the first one.
    pub fn first() -> Option<Self> {
        Self::all().into_iter().next()
    }

    /// Returns the newest one.
    pub fn newest() -> Option<Self> {
        Self::all().into_iter().next_back()
    }
}

/// A single server, with a folder of its own.
pub struct Single {
    pub server: Server,
    _shelter: Shelter,
}

impl Single {
    /// Starts one with more arguments.
    pub fn start(engine: &Engine, arguments: &[&str]) -> Self {
        let shelter = Shelter::new();
        let server = Server::start(engine, shelter.path(), arguments);
        server.answers();
        Self { server, _shelter: shelter }
    }

    /// Starts one that speaks TLS only, with a certificate of an authority.
    pub fn start_secured(engine: &Engine, authority: &Authority) -> Self {
        let shelter = Shelter::new();
        authority.issue(&["127.0.0.1"]).write(shelter.path(), "engine");
        let file = |ending| shelter.path().join(format!("engine.{ending}")).display().to_string();
        let (certificate, key) = (file("pem"), file("key"));
        let arguments = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
        let arguments = [&arguments[..], &["--tls-ca-cert-file", &certificate]].concat();
        let server = Server::start(engine, shelter.path(), &arguments);
        let server = server.secured(Client::new(authority));
        server.answers();
        Self { server, _shelter: shelter }
    }

    /// Returns the YAML of `swarms` for a node that shares over it, with more keys of `share`.
    pub fn share(&self, more: &str) -> String {
        share(&[self.server.address], "single", more)
    }

    pub fn cpu(&self) -> Duration {
        self.server.cpu()
    }
}

/// Returns the YAML of `swarms` for nodes that share over these servers.
fn share(nodes: &[SocketAddr], topology: &str, more: &str) -> String {
    let nodes: Vec<_> = nodes.iter().map(|node| format!("'{node}'")).collect();
    let nodes = nodes.join(", ");
    let more: String = more.lines().map(|line| format!("    {line}\n")).collect();
    format!("swarms:\n  share:\n    nodes: [{nodes}]\n    topology: {topology}\n{more}")
}
