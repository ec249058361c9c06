//! Faults at random, for 40 s or for an hour.
//!
//! Logs are trimmed after some minutes, so that nodes begin in the middle of them.

use std::time::{Duration, Instant};

use karuta_tests::engines::Engine;
use karuta_tests::{Daemon, eventually};

use crate::{Scene, figures, size};

/// What may happen. Nobody empties the engine, or kills both servers that have a part.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillPrimary,
    LoseAcknowledged,
    KillReplica,
    FailOver,
    MoveSlot,
    StopEngine,
    StopServer,
    KillNode,
    RestartNode,
}

const FAULTS: [Fault; 9] = [
    Fault::KillPrimary,
    Fault::LoseAcknowledged,
    Fault::KillReplica,
    Fault::FailOver,
    Fault::MoveSlot,
    Fault::StopEngine,
    Fault::StopServer,
    Fault::KillNode,
    Fault::RestartNode,
];

#[test]
fn nothing_is_lost_by_faults_at_random() {
    soak(Duration::from_secs(40), Duration::ZERO);
}

/// `cargo test --release --test cluster -- --ignored --nocapture soak`
///
/// With `KARUTA_MINUTES` and `KARUTA_PAUSE` (in seconds), it lasts so long, and something fails so often. With
/// `KARUTA_FAULTS=KillNode,FailOver`, nothing else fails.
#[test]
#[ignore = "it takes an hour"]
fn nothing_is_lost_by_a_fault_a_minute() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |number| number.parse().expect("a number"))
    };
    let time = Duration::from_mins(number("KARUTA_MINUTES", 60));
    soak(time, Duration::from_secs(number("KARUTA_PAUSE", 60)));
}

/// Peers that are silent for some faults are still there.
const TRACKER: &str = "tracker: { announce_interval: 1m, min_announce_interval: 1m, max_interval: \
                       1m, peer_lifetime: 3m }\n";

/// Returns what may happen here.
fn faults() -> Vec<Fault> {
    let wanted = std::env::var("KARUTA_FAULTS").ok();
    let is_wanted = |fault: &Fault| {
        let name = format!("{fault:?}");
        wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|one| one == name))
    };
    let faults: Vec<_> = FAULTS.into_iter().filter(is_wanted).collect();
    assert!(!faults.is_empty(), "KARUTA_FAULTS has none of {FAULTS:?}");
    faults
}

/// Has something fail each `every`, for a time.
fn soak(time: Duration, every: Duration) {
    let Some(engine) = Engine::newest() else { return };
    let mut scene = Scene::begin_as(&engine, "", TRACKER);
    let faults = faults();
    let start = Instant::now();
    let seed = std::env::var("KARUTA_SEED").map(|seed| seed.parse().expect("a number"));
    let mut random = seed.unwrap_or_else(|_| u64::from(std::process::id()));
    eprintln!("the faults are those of KARUTA_SEED={random}");
    let mut next = |end: usize| {
        // The generator of Numerical Recipes.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % end
    };
    let mut last = 0;
    while start.elapsed() < time {
        let began = Instant::now();
        let fault = faults[next(faults.len())];
        let part = next(usize::from(crate::PARTS));
        let node = next(crate::NODES);
        eprintln!("{:?}: {fault:?} of part {part} or node {node}", start.elapsed());
        scene.suffer(fault, part, node);
        scene.has_caught_up();
        let mut heard = scene.crowd.lap();
        figures("meanwhile", &mut heard);
        heard.is_clean();
        let memory = scene.nodes.iter().map(resident).sum::<u64>() >> 20;
        if memory != last {
            eprintln!("the nodes have {memory} MiB");
            last = memory;
        }
        while began.elapsed() < every {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    scene.ends_well();
}

impl Scene {
    fn suffer(&mut self, fault: Fault, part: usize, node: usize) {
        let primary = self.cluster.primary_of(part);
        match fault {
            Fault::KillPrimary | Fault::LoseAcknowledged => {
                let replica = self.cluster.replica_of(primary);
                if matches!(fault, Fault::LoseAcknowledged) {
                    self.cluster.cut_off_replicas(primary);
                    self.goes_on();
                }
                self.cluster.servers[primary].kill();
                self.cluster.is_primary(replica);
                self.goes_on();
                self.cluster.servers[primary].launch();
            }
            Fault::KillReplica => {
                let replica = self.cluster.replica_of(primary);
                self.cluster.servers[replica].kill();
                self.goes_on();
                self.cluster.servers[replica].launch();
            }
            Fault::FailOver => {
                self.cluster.fail_over(primary);
            }
            Fault::MoveSlot => {
                self.cluster.move_part(part);
            }
            Fault::StopEngine => {
                self.cluster.signal("STOP");
                self.goes_on();
                self.cluster.signal("CONT");
            }
            Fault::StopServer => {
                self.cluster.servers[primary].signal("STOP");
                self.goes_on();
                self.cluster.servers[primary].signal("CONT");
            }
            Fault::KillNode | Fault::RestartNode => {
                self.crowd.dies(node);
                let daemon = self.nodes.remove(node);
                let folder = match fault {
                    Fault::KillNode => daemon.kill(),
                    _ => daemon.stop(),
                };
                let announces = size().rate * (crate::NODES - 1) as f64;
                self.crowd.announces(announces as u64);
                self.nodes.insert(node, Daemon::start_in(folder));
                self.crowd.lives(node, self.nodes[node].udp);
            }
        }
        eventually("the servers answer", || {
            self.cluster.servers.iter().for_each(karuta_tests::engines::Server::answers);
            true
        });
        self.cluster.is_whole();
    }
}

/// Returns the memory that a daemon has, in bytes.
fn resident(node: &Daemon) -> u64 {
    let path = format!("/proc/{}/status", node.pid());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() << 10
}
