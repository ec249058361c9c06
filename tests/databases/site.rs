//! A site: a tracker with a database, and the clients of its members.

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::databases::{Database, Kind};
use karuta_tests::{Daemon, LISTENERS, eventually, folder, run, within};
use serde_json::Value;
use tempfile::TempDir;

use crate::tables::Tables;

/// More than the tracker waits between two attempts.
const AGAIN: Duration = Duration::from_secs(60);

pub const ACCOUNTS: &str = "accounts:
  credential: ['query:passkey']
  database: { file: database }
  schema: SCHEMA
  node: one
  load: { every: 10s, changes: 100ms }
  flush: { every: 20ms, rows: 50 }
  ledger: { every: 5ms }
policies:
- { name: members, plugin: PLUGINS/passkey.wasm, credential: ['query:passkey'], config: { accounts: true } }
";
/// The members, each with the passkey of [`passkey`], and the torrents, of the letters from `a` on.
pub const MEMBERS: u64 = 4;
pub const TORRENTS: u64 = 3;

pub struct Site {
    pub tables: Tables,
    pub database: Database,
    pub daemon: Daemon,
}

/// A kind of database, and the tables in it.
pub struct Setting {
    kind: Kind,
    pub tables: Tables,
}

impl Setting {
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub fn is_mysql(&self) -> bool {
        self.kind.is_mysql()
    }
}

/// Calls a test with our tables in each kind of database that is there.
pub fn with_each(test: impl Fn(&Setting)) {
    with(&[Tables::Karuta], test);
}

/// Calls a test with the tables of each Gazelle.
pub fn with_gazelles(test: impl Fn(&Setting)) {
    with(&[Tables::Gazelle, Tables::Orpheus], test);
}

/// Calls a test with the tables of UNIT3D.
pub fn with_unit3d(test: impl Fn(&Setting)) {
    with(&[Tables::Unit3d], test);
}

/// Calls a test with the tables of each site that is not made for us.
pub fn with_others(test: impl Fn(&Setting)) {
    with(&[Tables::Gazelle, Tables::Orpheus, Tables::Unit3d], test);
}

/// Calls a test with all tables in each kind of database in which they can be.
pub fn with_all(test: impl Fn(&Setting)) {
    with(&[Tables::Karuta, Tables::Gazelle, Tables::Orpheus, Tables::Unit3d], test);
}

fn with(tables: &[Tables], test: impl Fn(&Setting)) {
    for kind in Kind::all() {
        for tables in tables {
            if *tables == Tables::Karuta || kind.is_mysql() {
                test(&Setting { kind: kind.clone(), tables: *tables });
            }
        }
    }
}

pub fn passkey(member: u64) -> String {
    format!("{member:032}")
}

pub fn letter(torrent: u64) -> char {
    char::from(b'`' + u8::try_from(torrent).unwrap())
}

/// Returns an info-hash as SQL.
pub fn hash(database: &Database, letter: char) -> String {
    let hex: String = torrent(letter).iter().map(|byte| format!("{byte:02x}")).collect();
    match database.kind.is_mysql() {
        true => format!("x'{hex}'"),
        false => format!("'\\x{hex}'"),
    }
}

/// Starts a database with its tables, and a few members and torrents.
pub fn database(setting: &Setting) -> Database {
    let database = Database::start(&setting.kind);
    setting.tables.make(&database);
    database
}

/// Returns the folder of a tracker that finds its database at a port.
pub fn tracker(database: &Database, port: u16, accounts: &str) -> TempDir {
    let folder = folder(&format!("{LISTENERS}{accounts}"));
    fs::write(folder.path().join("database"), database.url(port)).unwrap();
    folder
}

impl Site {
    pub fn start(setting: &Setting) -> Self {
        let database = database(setting);
        let port = database.port;
        Self::start_with(setting, database, port, |accounts| accounts.to_owned())
    }

    /// Starts a tracker that finds its database at a port, with changed YAML.
    pub fn start_with(
        setting: &Setting,
        database: Database,
        port: u16,
        change: impl Fn(&str) -> String,
    ) -> Self {
        let accounts = change(&ACCOUNTS.replace("SCHEMA", setting.tables.name()));
        let daemon = Daemon::start_in(tracker(&database, port, &accounts));
        let site = Self { tables: setting.tables, database, daemon };
        site.is_loaded();
        site
    }

    /// Starts one that tells at a door with a secret what it changes.
    pub fn with_door(setting: &Setting, door: &str, secret: &str) -> Self {
        let database = database(setting);
        let accounts = ACCOUNTS.replace("SCHEMA", setting.tables.name());
        let folder = tracker(&database, database.port, &accounts);
        let config = folder.path().join("config.yaml");
        let yaml = fs::read_to_string(&config).unwrap();
        let with_door = yaml.replace("admin: { ", &format!("admin: {{ {door}, "));
        assert_ne!(yaml, with_door);
        fs::write(config, with_door).unwrap();
        fs::write(folder.path().join("secret"), secret).unwrap();
        let site = Self { tables: setting.tables, database, daemon: Daemon::start_in(folder) };
        site.is_loaded();
        site
    }

    /// Returns a row of the database, with a blank between columns.
    pub fn row(&self, sql: &str) -> String {
        self.database.sql(sql).trim().replace('\t', " ")
    }

    pub fn is_loaded(&self) {
        eventually("members are read", || self.status()["database"]["loaded"] == true);
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.daemon.admin_page("/api/accounts")).unwrap_or_default()
    }

    /// Returns a member or a torrent as the tracker knows it, such as `members/1`.
    pub fn shown(&self, what: &str) -> Value {
        let page = self.daemon.admin_page(&format!("/api/accounts/{what}"));
        serde_json::from_str(&page).unwrap_or_else(|_| panic!("{page}"))
    }

    /// Waits until the database has everything.
    pub fn all_in(&self) {
        within(AGAIN, "the database is up", || self.status()["database"]["up"] == true);
        // The first batch may have been under way already; the next one was sealed after it, and has
        // what was written before.
        for _ in 0..2 {
            let before = self.status()["database"]["applied_batches"].as_u64().unwrap_or(0);
            announce(MEMBERS, TORRENTS, 250, 0).event("started").http(self.daemon.http).unwrap();
            eventually("everything is in", || {
                let database = &self.status()["database"];
                let applied = database["applied_batches"].as_u64().unwrap_or(0);
                database["up"] == true && database["pending_rows"] == 0 && applied > before
            });
        }
    }

    /// Returns what a member has up- and downloaded, as the database says.
    pub fn credit(&self, member: u64) -> (u64, u64) {
        let of = |column| self.database.number(&self.tables.credit(column, member));
        (of("uploaded"), of("downloaded"))
    }

    pub fn accounts(&self, arguments: &[&str]) -> Output {
        let admin = self.daemon.admin.to_string();
        let all = [&["accounts"][..], arguments, &["--admin", &admin]].concat();
        run(&all, self.daemon.folder.path())
    }
}

/// Returns an announce of a client of a member that has moved so much in either direction.
pub fn announce(member: u64, torrent: u64, client: u8, moved: u64) -> Announce {
    Announce::of(letter(torrent))
        .with(&format!("passkey={}", passkey(member)))
        .peer_id([client; 20])
        .port(6000 + u16::from(client))
        .moved(moved, 2 * moved)
}

/// Clients that announce all the time, and know what they have moved.
pub struct Crowd {
    totals: Vec<AtomicU64>,
    stop: AtomicBool,
    address: std::sync::Mutex<SocketAddr>,
}

impl Crowd {
    /// Begins with as many clients as there are pairs of members and torrents.
    pub fn begin(daemon: &Daemon) -> Self {
        let totals = (0..MEMBERS * TORRENTS).map(|_| AtomicU64::new(0)).collect();
        let crowd = Self { totals, stop: AtomicBool::new(false), address: daemon.http.into() };
        for client in 0..crowd.totals.len() {
            crowd.of(client).event("started").http(daemon.http).unwrap();
        }
        crowd
    }

    fn of(&self, client: usize) -> Announce {
        let number = client as u64;
        let (member, torrent) = (number % MEMBERS + 1, number / MEMBERS + 1);
        let total = self.totals[client].load(Ordering::SeqCst);
        announce(member, torrent, u8::try_from(client + 1).unwrap(), total)
    }

    /// Announces from two threads while `work` is done.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.stop.store(false, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for half in 0..2 {
                scope.spawn(move || {
                    for turn in 0.. {
                        if self.stop.load(Ordering::SeqCst) {
                            return;
                        }
                        let client = (2 * turn + half) % self.totals.len();
                        self.totals[client].fetch_add(1000 + turn as u64 % 7, Ordering::SeqCst);
                        self.ask(&self.of(client));
                    }
                });
            }
            // Also if it panics.
            let _end = End(&self.stop);
            work()
        })
    }

    /// Sends an announce to a tracker that may be dead.
    fn ask(&self, announce: &Announce) {
        let address = *self.address.lock().unwrap();
        let answered = std::panic::catch_unwind(|| announce.get(address, &[]).status == 200);
        if !answered.unwrap_or(false) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn moves_to(&self, address: SocketAddr) {
        *self.address.lock().unwrap() = address;
    }

    /// Ends all clients, each with a last announce, and compares what they moved with what the database
    /// says: of each member, and of each member at each torrent.
    pub fn end(self, site: &Site) {
        for client in 0..self.totals.len() {
            self.of(client).event("stopped").http(site.daemon.http).unwrap();
        }
        site.all_in();
        for member in 1..=MEMBERS {
            let mut sum = 0;
            for torrent in 1..=TORRENTS {
                let client = (torrent - 1) * MEMBERS + member - 1;
                let moved = self.totals[client as usize].load(Ordering::SeqCst);
                if let Some(sql) = site.tables.uploaded(member, torrent) {
                    let uploaded = site.database.number(&sql);
                    assert_eq!(uploaded, moved, "member {member}, torrent {torrent}");
                }
                let reported = site.database.number(&site.tables.reported(member, torrent));
                assert_eq!(reported, moved, "its client");
                sum += moved;
            }
            assert_eq!(site.credit(member), (sum, 2 * sum), "member {member}");
        }
    }
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
