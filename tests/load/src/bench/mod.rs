//! Compares Karuta, without and with policies, with other trackers and with servers that only
//! answer.

mod before;
mod beside;
mod server;
mod shared;
mod sizes;
mod table;
mod tokens;
mod workers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::client::{self, Load};
use crate::process;
use crate::tally::Report;
use server::{Server, Setting, TARGETS};
use tokens::Tokens;

/// Runs servers in turn, in several rounds, and prints tables of medians.
///
/// Each server has one worker and is pinned to a core; so is the generator.
#[derive(clap::Args)]
pub struct Bench {
    /// The daemon.
    #[arg(long, default_value = "target/release/karuta", value_name = "FILE")]
    karuta: PathBuf,
    /// An earlier build of the daemon to compare with.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// The folder of the components.
    #[arg(long, default_value = "target/plugins", value_name = "FOLDER")]
    plugins: PathBuf,
    /// The folder of other trackers, filled by `tests/setup peers`.
    #[arg(long, default_value = "target/peers", value_name = "FOLDER")]
    peers_folder: PathBuf,
    /// The folder for the measurements and the plots.
    #[arg(long, default_value = "target/bench", value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    load: Load,
    /// How often to measure each case.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Only cases whose titles begin with this; may be given several times.
    #[arg(long, value_name = "TITLE")]
    case: Vec<String>,
    /// Only servers with this name, or with this prefix if it ends in `*`; may be given several
    /// times.
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,
}

/// Karuta with the policies of the performance targets.
const THREE: &str = "Karuta, three policies";

/// Karuta with all clients at ::1, which get IPv6 peers.
const IPV6: &str = "Karuta, over IPv6";

/// Karuta with the policy `jwt`, which judges the token each time, or once.
const FIRST_SIGHT: &str = "Karuta, a token at first sight";
const REMEMBERED_TOKEN: &str = "Karuta, a token remembered";

/// A server that judges the token by the same rules, but in native code.
const NATIVELY: &str = "bare hyper, a token judged natively";

/// A load for every server that supports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Case {
    UdpAnnounce,
    HttpAnnounce,
    HttpClose,
    HttpToken,
    UdpScrape,
    UdpTenth,
    UdpQuarter,
    UdpHalf,
}

/// One measurement.
#[derive(Serialize)]
struct Measured {
    case: &'static str,
    name: String,
    round: usize,
    #[serde(flatten)]
    report: Report,
}

impl Measured {
    /// Measures a server, and returns the result.
    fn of(
        case: &'static str,
        server: &Server,
        round: usize,
        measure: impl FnOnce() -> Result<Report>,
    ) -> Result<Self> {
        server.resume()?;
        let report = measure()?;
        server.pause()?;
        let name = server.name.clone();
        eprint!("round {round}, {case}, {name}\n{report}");
        Ok(Self { case, name, round, report })
    }
}

impl Case {
    const ALL: [Self; 8] = [
        Self::UdpAnnounce,
        Self::HttpAnnounce,
        Self::HttpClose,
        Self::HttpToken,
        Self::UdpScrape,
        Self::UdpTenth,
        Self::UdpQuarter,
        Self::UdpHalf,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::UdpAnnounce => "UDP announce",
            Self::HttpAnnounce => "HTTP announce, keep-alive",
            Self::HttpClose => "HTTP announce, a connection each",
            Self::HttpToken => "HTTP announce with a token, one torrent",
            Self::UdpScrape => "UDP scrape of 74 hashes",
            Self::UdpTenth => "UDP announce at a tenth of its most",
            Self::UdpQuarter => "UDP announce at a quarter of its most",
            Self::UdpHalf => "UDP announce at half of its most",
        }
    }

    fn is_udp(self) -> bool {
        !matches!(self, Self::HttpAnnounce | Self::HttpClose | Self::HttpToken)
    }

    /// Returns whether the case is meaningful for a server.
    fn concerns(self, server: &Server) -> bool {
        let carried = if self.is_udp() { server.udp.is_some() } else { server.http.is_some() };
        // Debian's opentracker is built without keep-alive.
        let keeps = server.name != "opentracker";
        let alone = server.name.strip_prefix("Karuta, ");
        let is_target = server.name == THREE || alone.is_some_and(|one| TARGETS.contains(&one));
        let main = matches!(&*server.name, "Karuta" | THREE | "bare sockets");
        let wants_token = server.wants_token();
        carried
            && match self {
                Self::HttpToken => wants_token || matches!(&*server.name, "Karuta" | "bare hyper"),
                _ if wants_token => false,
                Self::UdpAnnounce => true,
                Self::HttpClose => !server.is_variant() || server.name == THREE,
                Self::HttpAnnounce => {
                    keeps && (!server.is_variant() || is_target || server.name == IPV6)
                }
                Self::UdpTenth | Self::UdpQuarter | Self::UdpHalf => main,
                Self::UdpScrape => !server.name.starts_with("bare") && !server.is_variant(),
            }
    }

    /// Returns the share of the server's own maximum to measure at; `None`: the maximum.
    fn share(self) -> Option<f64> {
        match self {
            Self::UdpTenth => Some(0.1),
            Self::UdpQuarter => Some(0.25),
            Self::UdpHalf => Some(0.5),
            _ => None,
        }
    }

    fn load(self, load: &Load) -> Load {
        let load = load.clone();
        match self {
            Self::UdpAnnounce | Self::HttpAnnounce => load,
            Self::UdpTenth | Self::UdpQuarter | Self::UdpHalf => load,
            Self::HttpClose => Load { close: true, ..load },
            Self::HttpToken => Load { torrents: 1, ..load },
            // Requests of this size quickly fill a socket's buffer.
            Self::UdpScrape => Load {
                scrapes: 1.0,
                scrape_hashes: 74,
                outstanding: load.outstanding.min(2),
                ..load
            },
        }
    }
}

impl Bench {
    pub fn run(&self) -> Result<()> {
        self.load.check()?;
        ensure!(self.rounds > 0, "rounds: 1 or more");
        let cores = process::cores()?;
        let folder = tempfile::tempdir()?;
        process::pin(&[self.server_core])?;
        let tokens = Tokens::make(&self.karuta, folder.path())?;
        if let Some(before) = self.before.as_deref().filter(|_| self.wants_case(before::TITLE)) {
            println!("{}", before::measure(self, before, folder.path())?);
        }
        if self.wants_case(before::RECORDER) {
            println!("{}", before::recorder(self, folder.path())?);
        }
        // A core that neither the server nor the generator has, if there is one.
        let others = |core: &&usize| ![self.server_core, self.load_core].contains(core);
        let core = cores.iter().find(others).copied().unwrap_or(self.load_core);
        if self.wants_case(beside::WATCHERS) && self.wants_server(THREE) {
            println!("{}", beside::watched(self, folder.path(), core)?);
        }
        if self.wants_case(beside::EXPORTS) && self.wants_server("Karuta") {
            println!("{}", beside::exported(self, core)?);
        }
        if self.wants_case(beside::SNAPSHOTS) && self.wants_server("Karuta") {
            println!("{}", beside::saved(self, core)?);
        }
        let mut all = self.compare(folder.path(), &tokens)?;
        if self.wants_case(shared::TITLE) {
            println!("{}", shared::measure(self)?);
        }
        if self.wants_case(sizes::TITLE) {
            all.extend(sizes::measure(self)?);
        }
        let first = cores.first_chunk::<{ workers::CORES }>();
        let wants_workers = self.wants_case(workers::TITLE);
        if let Some(first) = first.filter(|_| wants_workers) {
            all.extend(workers::measure(self, *first)?);
        }
        std::fs::create_dir_all(&self.out)?;
        std::fs::write(self.out.join("bench.json"), serde_json::to_string_pretty(&all)?)?;
        for case in Case::ALL.map(Case::title).into_iter().chain([sizes::TITLE, workers::TITLE]) {
            let rows = table::rows(&all, case);
            if !rows.is_empty() {
                println!("{}", table::table(case, &rows));
                let name: String =
                    case.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').collect();
                let file = name.to_lowercase().replace(' ', "-") + ".svg";
                std::fs::write(self.out.join(file), table::plot(case, &rows))?;
            }
        }
        let [udp, http] =
            [Case::UdpAnnounce, Case::HttpAnnounce].map(|case| table::rows(&all, case.title()));
        if udp.iter().any(table::Row::is_setting) {
            println!("{}", table::added(&udp, &http));
        }
        if wants_workers && first.is_none() {
            let (title, wanted) = (workers::TITLE, workers::CORES);
            println!(
                "{title}: not measured, it takes {wanted} cores, and there are {}",
                cores.len()
            );
        }
        Ok(())
    }

    /// Puts every server under every load, in turn.
    fn compare(&self, folder: &Path, tokens: &Tokens) -> Result<Vec<Measured>> {
        let cases = Case::ALL.into_iter().filter(|case| self.wants_case(case.title()));
        let cases: Vec<Case> = cases.collect();
        if cases.is_empty() {
            return Ok(Vec::new());
        }
        process::pin(&[self.server_core])?;
        let servers = self.servers(folder, tokens)?;
        process::pin(&[self.load_core])?;
        let mut asked = Vec::new();
        for server in &servers {
            asked.push(self.fill(server, tokens)?);
            server.pause()?;
        }
        let mut all: Vec<Measured> = Vec::new();
        for round in 1..=self.rounds {
            for case in &cases {
                for (server, asked) in servers.iter().zip(&mut asked) {
                    let target = if case.is_udp() { &server.udp } else { &server.http };
                    let Some(target) = target.as_ref().filter(|_| case.concerns(server)) else {
                        continue;
                    };
                    let shown = tokens.shown_to(target);
                    let target = if *case == Case::HttpToken { &shown } else { target };
                    let mut load = case.load(&self.load);
                    server.resume()?;
                    if let Some(share) = case.share() {
                        let most = client::measure(target, &load, self.time(), None)?;
                        *asked += most.asked;
                        load.rate = Some(share * most.per_second);
                    }
                    let one = Measured::of(case.title(), server, round, || {
                        client::measure(target, &load, self.time(), Some(server.pid()))
                    })?;
                    let right = one.report.requests > 0 && one.report.wrong.is_empty();
                    ensure!(right || !server.is_ours(), "not every answer was right");
                    *asked += one.report.asked;
                    all.push(one);
                }
            }
        }
        for (server, asked) in servers.iter().zip(asked) {
            let lost = |one: &Measured| one.name == server.name && one.report.lost > 0;
            // A lost request may still have been counted.
            if !all.iter().any(lost) {
                server.resume()?;
                server.check_count(asked)?;
            }
        }
        Ok(all)
    }

    /// Returns how long each measurement takes.
    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn wants_case(&self, title: &str) -> bool {
        self.case.is_empty() || self.case.iter().any(|of| title.starts_with(of))
    }

    fn wants_server(&self, name: &str) -> bool {
        let is = |of: &String| match of.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == of,
        };
        self.server.is_empty() || self.server.iter().any(is)
    }

    fn fill(&self, server: &Server, tokens: &Tokens) -> Result<u64> {
        // Servers that only answer have no swarms.
        if server.name.starts_with("bare") {
            return Ok(0);
        }
        eprintln!("filling the swarms of {}", server.name);
        if server.wants_token() {
            let target = server.http.as_ref().map(|target| tokens.shown_to(target));
            let load = Case::HttpToken.load(&self.load);
            return target.map_or(Ok(0), |target| client::fill(&target, &load));
        }
        let target = server.udp.as_ref().or(server.http.as_ref());
        target.map_or(Ok(0), |target| client::fill(target, &self.load))
    }

    /// Starts the available servers. A server that cannot be started is named and left out, unless
    /// it is one of ours.
    fn servers(&self, folder: &Path, tokens: &Tokens) -> Result<Vec<Server>> {
        let (load, karuta, plugins) = (&self.load, &*self.karuta, &*self.plugins);
        let peers = |path: &str| self.peers_folder.join(path);
        let mut servers = Vec::new();
        let mut add =
            |name: &str, start: &dyn Fn() -> Result<Server>, needed: bool| -> Result<()> {
                if !self.wants_server(name) {
                    return Ok(());
                }
                match start() {
                    Ok(server) => servers.push(server),
                    Err(error) if needed => return Err(error),
                    Err(error) => eprintln!("left out: {name}: {error:#}"),
                }
                Ok(())
            };
        add("bare sockets", &|| Server::bare("bare sockets", "udp", None, load), true)?;
        add("bare hyper", &|| Server::bare("bare hyper", "http", None, load), true)?;
        let keys = Some(&*tokens.0.keys);
        add(NATIVELY, &|| Server::bare(NATIVELY, "http", keys, load), true)?;
        let set = |name, setting: Setting| Server::karuta(karuta, name, &setting);
        add("Karuta", &|| set("Karuta", Setting::default()), true)?;
        let with = |name: &'static str, policies: &dyn Fn() -> Result<String>| {
            set(name, Setting { policies: &policies()?, ..Setting::default() })
        };
        for (name, policies) in variants(plugins, folder) {
            add(name, &|| with(name, &policies), false)?;
        }
        for (name, remember) in [(FIRST_SIGHT, "0s"), (REMEMBERED_TOKEN, "1h")] {
            add(name, &|| with(name, &|| tokens.policy(plugins, remember)), false)?;
        }
        let name = "Karuta, two workers";
        add(name, &|| set(name, Setting { workers: 2, ..Setting::default() }), true)?;
        add(IPV6, &|| set(IPV6, Setting { address: "[::1]", ..Setting::default() }), false)?;
        add("opentracker", &|| Server::opentracker(Path::new("opentracker"), load), false)?;
        let udp = peers("bin/aquatic_udp");
        add("aquatic_udp", &|| Server::aquatic_udp("aquatic_udp", &udp), false)?;
        let ring = peers("io-uring/bin/aquatic_udp");
        let name = "aquatic_udp, io_uring";
        add(name, &|| Server::aquatic_udp(name, &ring), false)?;
        let http = peers("bin/aquatic_http");
        add("aquatic_http", &|| Server::aquatic_http("aquatic_http", &http), false)?;
        let node = peers("node_modules/bittorrent-tracker/bin/cmd.js");
        add("bittorrent-tracker", &|| Server::node(&node), false)?;
        Ok(servers)
    }
}

type Policies<'a> = Box<dyn Fn() -> Result<String> + 'a>;

/// Returns the settings of Karuta with policies, by name.
fn variants<'a>(plugins: &'a Path, folder: &'a Path) -> Vec<(&'static str, Policies<'a>)> {
    let one = |plugin: &'static str, more: &'static str| -> Policies<'a> {
        Box::new(move || server::one(plugins, plugin, more))
    };
    let thrice = |config: &'static str| -> Policies<'a> {
        Box::new(move || server::thrice(plugins, "test-nop", config))
    };
    // Interpreters start slowly, and are large.
    const QUIET: &str = "  config: { from: '22:00', to: '06:00' }\n  \
                         limits: { memory: 256MiB, init: 1m, deadline: 50ms }\n";
    const SPREAD: &str = "  config: { probability: 0.2, max_increase: 60s, min_interval: true }\n";
    let targets = |wanted: &'static [&'static str]| -> Policies<'a> {
        Box::new(move || server::targets(plugins, folder, wanted))
    };
    vec![
        (THREE, targets(&TARGETS)),
        ("Karuta, client-approval", targets(&["client-approval"])),
        ("Karuta, torrent-approval", targets(&["torrent-approval"])),
        ("Karuta, subnet", targets(&["subnet"])),
        ("Karuta, three that do nothing", thrice("{}")),
        ("Karuta, three remembered", thrice("{ remember: true }")),
        ("Karuta, one that does nothing", one("test-nop", "")),
        ("Karuta, one with a getter", one("test-nop", "  config: { getter: true }\n")),
        ("Karuta, one remembered", one("test-nop", "  config: { remember: true }\n")),
        ("Karuta, one in the shadow", one("test-nop", "  mode: shadow\n")),
        ("Karuta, interval-variation", one("interval-variation", SPREAD)),
        ("Karuta, one in Python", one("quiet-hours-python", QUIET)),
        ("Karuta, one in JavaScript", one("quiet-hours-javascript", QUIET)),
    ]
}
