//! A release that libtorrent clients share, run by `datacenter.py`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use karuta_tests::{Daemon, example, root, target};
use serde::Deserialize;

use crate::{Peers, without_policies};

pub const RACKS: usize = 8;
pub const HOSTS: usize = 4;
/// The size of the file, in bytes.
pub const SIZE: u64 = 8 << 20;
/// Enough for the host's rack and one more.
const WANT: usize = HOSTS;

/// The result of a release.
#[derive(Deserialize, Debug)]
pub struct Release {
    /// From the start of all hosts to the end of the last one.
    pub seconds: f64,
    pub hosts: Vec<Host>,
}

/// The report of one client.
#[derive(Deserialize, Debug)]
pub struct Host {
    pub address: Ipv4Addr,
    /// The bytes received, by sender.
    pub from: BTreeMap<Ipv4Addr, u64>,
}

/// The bytes from one rack to another, `[to][from]`. Rack 0 is everything outside of the racks.
pub type Traffic = [[u64; RACKS + 1]; RACKS + 1];

impl Release {
    pub fn traffic(&self) -> Traffic {
        let rack = |address: &Ipv4Addr| usize::from(address.octets()[2]);
        let mut traffic = Traffic::default();
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
    let all: u64 = traffic.as_flattened().iter().sum();
    let near = (0..=RACKS).map(|rack| traffic[rack][rack]).sum();
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
pub fn release(peers: Peers) -> Release {
    let yaml = example("datacenter.yaml");
    let daemon = Daemon::start_with(match peers {
        Peers::Random => without_policies(&yaml),
        Peers::Near => &yaml,
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = python()
        .arg(root().join("tests/stories/datacenter.py"))
        .args(["--tracker", &format!("http://{}/announce", daemon.http)])
        .args(["--folder".as_ref(), folder.path().as_os_str()])
        .args(["--racks", &RACKS.to_string(), "--hosts", &HOSTS.to_string()])
        .args(["--size", &SIZE.to_string(), "--want", &WANT.to_string()])
        .output()
        .expect("Python starts");
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
