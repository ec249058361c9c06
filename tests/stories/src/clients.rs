//! A release that libtorrent clients share, run by `datacenter.py`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use karuta_tests::{Daemon, example, root, target};
use serde::Deserialize;

use crate::Peers;
use crate::model::Shape;

/// The size of the file, in bytes.
pub const SIZE: u64 = 8 << 20;

/// A release.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub shape: Shape,
    pub peers: Peers,
    /// How many peers a host asks for.
    pub want: usize,
    /// How many hosts that exchange with other racks vanish in the middle, each of another rack. All
    /// hosts ask again every second then, and are forgotten after three.
    pub killed: usize,
}

/// The result of a release.
#[derive(Clone, Deserialize, Debug)]
pub struct Release {
    /// From the start of all hosts to the end of the last one.
    pub seconds: f64,
    /// Seconds, and the bytes that had crossed racks by then.
    pub across: Vec<(f64, u64)>,
    pub vanished: Vec<Ipv4Addr>,
    pub hosts: Vec<Host>,
}

/// The report of one client.
#[derive(Clone, Deserialize, Debug)]
pub struct Host {
    pub address: Ipv4Addr,
    /// The bytes received, by sender.
    pub from: BTreeMap<Ipv4Addr, u64>,
}

/// The bytes from one rack to another, `[to][from]`. Rack 0 is everything outside of the racks.
pub type Traffic = Vec<Vec<u64>>;

impl Release {
    pub fn traffic(&self) -> Traffic {
        let rack = |address: &Ipv4Addr| usize::from(address.octets()[2]);
        let racks = self.hosts.iter().map(|host| rack(&host.address)).max().unwrap_or(0);
        let mut traffic = vec![vec![0; racks + 1]; racks + 1];
        for host in &self.hosts {
            for (from, bytes) in &host.from {
                traffic[rack(&host.address)][rack(from)] += bytes;
            }
        }
        traffic
    }
}

/// Returns the bytes that stayed in their rack, and the bytes that crossed racks.
pub fn near_and_far(traffic: &Traffic) -> (u64, u64) {
    let all: u64 = traffic.iter().flatten().sum();
    let near = (0..traffic.len()).map(|rack| traffic[rack][rack]).sum();
    (near, all - near)
}

/// Returns whether libtorrent for Python is installed.
pub fn are_there() -> bool {
    python()
        .args(["-c", "import libtorrent"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Lets all hosts fetch the release, with the tracker of the example.
pub fn release(setting: Setting) -> Release {
    let mut yaml = setting.peers.configure(&example("datacenter.yaml"));
    if setting.killed > 0 {
        for (key, from, to) in [
            ("announce_interval", "5m", "1s"),
            ("min_announce_interval", "1m", "1s"),
            ("max_interval", "10m", "2s"),
            ("peer_lifetime", "15m", "3s"),
        ] {
            yaml = yaml.replace(&format!("  {key}: {from}\n"), &format!("  {key}: {to}\n"));
        }
    }
    let daemon = Daemon::start_with(&yaml);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut python = python();
    python
        .arg(root().join("tests/stories/datacenter.py"))
        .args(["--tracker", &format!("http://{}/announce", daemon.http)])
        .args(["--folder".as_ref(), folder.path().as_os_str()])
        .args(["--racks", &setting.shape.racks.to_string()])
        .args(["--hosts", &setting.shape.hosts.to_string()])
        .args(["--size", &SIZE.to_string(), "--want", &setting.want.to_string()]);
    if setting.killed > 0 {
        python.args(["--again", "1", "--kill", &setting.killed.to_string()]);
    }
    let output = python.output().expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("the summary of all hosts")
}

/// Returns Python with the packages that `tests/setup stories` has installed.
fn python() -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", installed());
    python
}

fn installed() -> PathBuf {
    target().parent().expect("a target folder").join("stories/python")
}
