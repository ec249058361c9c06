//! `make cluster`: three trackers share their swarms over a cluster of six servers. Under load, a
//! primary dies and takes acknowledged writes along, and a tracker dies. Then everything is compared.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use karuta_tests::crowd::{Crowd, Heard, Size};
use karuta_tests::engines::{Cluster, Engine, shelter};
use karuta_tests::nodes::{Swarms, behind, differences, mistaken, node, settle, swarms};
use karuta_tests::{Daemon, write_config};
use tempfile::TempDir;

const SIZE: Size = Size { torrents: 200, peers: 60, rate: 500.0 };
/// The part whose primary dies.
const PART: usize = 0;

fn main() -> ExitCode {
    let Some(engine) = Engine::newest() else {
        eprintln!("no engine is there: `tests/setup cluster` installs Redis on Debian");
        return ExitCode::FAILURE;
    };
    Show::begin(&engine).run()
}

struct Show {
    start: Instant,
    cluster: Cluster,
    nodes: Vec<Daemon>,
    crowd: Crowd,
    all: Heard,
}

impl Show {
    fn begin(engine: &Engine) -> Self {
        let start = Instant::now();
        let cluster = Cluster::start(engine);
        let ports: Vec<_> =
            cluster.servers.iter().map(|one| one.address.port().to_string()).collect();
        println!(
            "engine  {}: three primaries and three replicas on 127.0.0.1, ports {}",
            engine.name,
            ports.join(" ")
        );
        let nodes: Vec<_> = (0..3).map(|_| start_node(&cluster, None)).collect();
        for (number, node) in nodes.iter().enumerate() {
            println!(
                "node {}  udp://{}, http://{}/announce, admin API {}",
                number + 1,
                node.udp,
                node.http,
                node.admin
            );
        }
        let rate = SIZE.rate;
        println!(
            "load    {rate} announces a second at each node, of {} peers of {} torrents",
            SIZE.torrents * SIZE.peers,
            SIZE.torrents
        );
        println!("        that start, complete and stop; half of them announce at any node\n");
        println!(
            "{:>8}  {:>11}  {:>10}  {:>10}  {:>22}",
            "seconds", "announces/s", "unanswered", "p99", "longest behind, by node"
        );
        let addresses: Vec<_> = nodes.iter().map(|node| node.udp).collect();
        let crowd = Crowd::start(&addresses, SIZE);
        Self { start, cluster, nodes, crowd, all: Heard::default() }
    }

    fn run(mut self) -> ExitCode {
        self.watch(3);
        self.kill_primary();
        self.watch(8);
        self.kill_node();
        self.watch(3);
        self.compare()
    }

    fn kill_primary(&mut self) {
        let primary = self.cluster.primary_of(PART);
        let port = self.cluster.servers[primary].address.port();
        self.cluster.cut_off_replicas(primary);
        self.says(&format!(
            "the replica of port {port} is cut off: nobody else has what is written now"
        ));
        self.watch(2);
        self.cluster.servers[primary].kill();
        self.says(&format!("kill -9 of port {port}, a primary"));
    }

    fn kill_node(&mut self) {
        self.crowd.dies(2);
        let folder = self.nodes.remove(2).kill();
        self.says("kill -9 of node 3");
        self.watch(3);
        let start = Instant::now();
        self.nodes.push(start_node(&self.cluster, Some(folder)));
        let peers: usize = swarms(&self.nodes[2]).values().map(|one| one.peers.len()).sum();
        self.says(&format!(
            "node 3 is back: ready after {:.1} s, with {peers} peers",
            start.elapsed().as_secs_f64()
        ));
        self.crowd.lives(2, self.nodes[2].udp);
    }

    /// Shows how things go, for some seconds.
    fn watch(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let begin = Instant::now();
            std::thread::sleep(Duration::from_secs(1));
            let mut heard = self.crowd.lap();
            let rate = heard.announces as f64 / begin.elapsed().as_secs_f64();
            let behind: Vec<_> = self.nodes.iter().map(|node| duration(behind(node))).collect();
            let p99 = duration(heard.latency(0.99).as_secs_f64());
            println!(
                "{:>8.1}  {rate:>11.0}  {:>10}  {:>10}  {:>22}",
                self.start.elapsed().as_secs_f64(),
                heard.unanswered,
                p99,
                behind.join("  ")
            );
            self.all.add(heard);
        }
    }

    fn says(&self, what: &str) {
        println!("{:>8.1}  ── {what}", self.start.elapsed().as_secs_f64());
    }

    fn compare(self) -> ExitCode {
        let Self { start, cluster, mut nodes, crowd, mut all } = self;
        let (heard, homes) = crowd.stop();
        all.add(heard);
        println!("{:>8.1}  ── nobody announces any more", start.elapsed().as_secs_f64());
        // What differs is counted below.
        let _ = settle(&nodes.iter().collect::<Vec<_>>());
        nodes.push(start_node(&cluster, None));
        println!(
            "{:>8.1}  ── a fourth node has started, and has read the log",
            start.elapsed().as_secs_f64()
        );
        let known: Vec<Swarms> = nodes.iter().map(swarms).collect();
        let peers: usize = known[0].values().map(|swarm| swarm.peers.len()).sum();
        let downloads: u64 = known[0].values().map(|swarm| swarm.downloads).sum();
        let differ = known[1..].iter().flat_map(|other| differences(&known[0], other)).count();
        let wrong = mistaken(&known[0], &homes).len();
        println!(
            "\n{:>9} announces, {} without an answer from a living node",
            all.announces, all.unanswered
        );
        println!(
            "{peers:>9} peers and {downloads} downloads known to each of the four nodes: {differ} differ"
        );
        println!(
            "{:>9} peers that announced at one node only: {wrong} are not what they said last",
            homes.len()
        );
        if differ + wrong == 0 && all.unanswered == 0 && all.wrong.is_empty() {
            println!("\nNothing was lost.");
            return ExitCode::SUCCESS;
        }
        println!("\nSomething was lost: please report it, with this page. {:?}", all.wrong.first());
        ExitCode::FAILURE
    }
}

/// Starts a node in a folder that ends with the engine, or again in the one that it had.
fn start_node(cluster: &Cluster, folder: Option<TempDir>) -> Daemon {
    let folder = folder.unwrap_or_else(|| {
        let folder = tempfile::tempdir_in(cluster.shelter().path()).expect("a folder");
        write_config(folder.path(), &node(&cluster.share("")));
        folder
    });
    let daemon = Daemon::start_in(folder);
    shelter::note(daemon.folder.path(), daemon.pid());
    daemon
}

/// Returns seconds in the unit that suits them.
fn duration(seconds: f64) -> String {
    match seconds {
        0.0..1e-3 => format!("{:.0} µs", seconds * 1e6),
        1e-3..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}
