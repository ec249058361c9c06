//! A tracker that has as many series as it can, and a little load for it.

use std::fs;
use std::process::Output;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::tls::{self, Authority};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually, folder, get, run, write_config};

/// An engine and a database that are away, a policy that traps if it is asked to, one in shadow mode, one with data, and one that observes.
const YAML: &str = "\
http:
- { listen: '127.0.0.1:0' }
- { listen: '127.0.0.1:0', tls: { certificate: a.pem, key: a.key } }
udp: [{ listen: '127.0.0.1:0' }]
admin:
  listen: '127.0.0.1:0'
  gazelle: { listen: '127.0.0.1:0', password: { file: password } }
  unit3d: { listen: '127.0.0.1:0', key: { file: key } }
swarms:
  full_scrape: { formats: [ben] }
  share: { nodes: ['127.0.0.1:9'], topology: single, catch_up: 1s, timeout: 100ms }
export: [{ format: txt, path: all.txt, every: 1h }]
accounts: { database: { file: database } }
policies:
- name: traps
  plugin: PLUGINS/test-hostile.wasm
  on_error: next
  config: { rules: [{ on: announce, do: trap, query: trap }] }
- { name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: ['-XL'] } }
- { name: later, plugin: PLUGINS/client-approval.wasm, config: { deny: ['-SH'] }, mode: shadow }
- name: torrents
  plugin: PLUGINS/torrent-approval.wasm
  config: { deny_from: deny }
  data: { deny: { file: denied.txt, format: info-hashes, edits: true } }
- { name: books, plugin: PLUGINS/test-control.wasm, config: {} }
- { name: tally, plugin: PLUGINS/test-tally.wasm }
";

const PASSWORD: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789";

pub struct Tracker {
    pub daemon: Daemon,
    authority: Authority,
}

impl Tracker {
    /// Starts a tracker for the second time, so that it has restored something.
    pub fn start() -> Self {
        let authority = Authority::new();
        let folder = folder(YAML);
        authority.issue(&["localhost"]).write(folder.path(), "a");
        let denied = torrent('d').map(|byte| format!("{byte:02x}")).concat();
        fs::write(folder.path().join("denied.txt"), denied).expect("the data is written");
        fs::write(folder.path().join("database"), "postgres://127.0.0.1:9/site")
            .expect("the URL is written");
        fs::write(folder.path().join("password"), PASSWORD).expect("the password is written");
        fs::write(folder.path().join("key"), KEY).expect("the key is written");
        let first = Daemon::start_in(folder);
        Announce::of('a').http(first.http).expect("it is served");
        Self { daemon: first.restart(), authority }
    }

    /// Sends requests of every kind, each with its outcome.
    pub fn load(&self) {
        let (http, udp) = (self.daemon.http, Client::connect(self.daemon.udp));
        for port in 6000..6010 {
            Announce::of('a').port(port).http(http).expect("it is let in");
            Announce::of('b').port(port).seeder().udp(&udp).expect("it is let in");
        }
        udp.scrape(&[torrent('a')]).expect("it is let in");
        Announce::of('a').client("-XL").http(http).expect_err("it is refused");
        Announce::of('d').http(http).expect_err("it is refused");
        Announce::of('a').client("-SH").http(http).expect("only the shadow refuses");
        Announce::of('a').with("trap").http(http).expect("the next policy decides");
        get(http, "/announce?port=x", &[]);
        get(http, "/scrape", &[]);
        let mut secured =
            tls::Client::new(&self.authority).open(self.daemon.listener("https"), "localhost");
        let query = Announce::of('c').query();
        secured
            .send(format!("GET /announce?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!(secured.answer().status, 200);
    }

    /// Makes the tracker do what it does seldom.
    pub fn change(&self) {
        let refused = get(self.daemon.admin, "/metrics", &["Origin: http://elsewhere.example"]);
        assert_eq!(refused.status, 403);
        let call = format!("/{PASSWORD}/update?action=remove_user&passkey=none");
        get(self.daemon.listener("gazelle"), &call, &[]);
        get(self.daemon.listener("unit3d"), &format!("/announce/{KEY}/stats"), &[]);
        assert_succeeds(&self.karuta(&["snapshot", "save"]));
        let folder = self.daemon.folder.path();
        write_config(folder, &format!("{YAML}tracker: {{ announce_interval: 20m }}\n"));
        assert_succeeds(&self.karuta(&["reload"]));
    }

    /// Runs `karuta` with arguments against this tracker.
    pub fn karuta(&self, arguments: &[&str]) -> Output {
        let admin = format!("--admin={}", self.daemon.admin);
        run(&[arguments, &[&admin]].concat(), self.daemon.folder.path())
    }

    /// Returns the page with everything that [`Self::load`] and [`Self::change`] cause.
    pub fn page(&self) -> String {
        self.load();
        self.change();
        // One call in 64 is measured, observers are told later, and exports are made by another thread.
        let late = [
            "karuta_policy_duration_seconds",
            "hook=\"observe\",verdict=\"ok\"",
            "karuta_export_timestamp_seconds",
            "karuta_full_scrape_size_bytes",
        ];
        let mut page = String::new();
        eventually("a call is measured, the observer is told, and all is exported", || {
            self.load();
            page = self.daemon.admin_page("/metrics");
            late.iter().all(|series| page.contains(series))
        });
        page
    }
}

fn assert_succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
