//! A cluster of three primaries and three replicas.

use std::time::Duration;

use super::resp::{Client, Value};
use super::shelter::Shelter;
use super::{Engine, Server, share};
use crate::eventually;

const PRIMARIES: usize = 3;

/// The default of `swarms.share.name`.
const NAME: &str = "karuta";

/// Servers by number, 0 to 5. At first, 0 to 2 are primaries, and `n + 3` is the replica of `n`.
pub struct Cluster {
    pub servers: Vec<Server>,
    shelter: Shelter,
}

/// What a server tells of another one, or of itself.
struct Member {
    number: usize,
    id: String,
    flags: Vec<String>,
    primary: String,
    slots: Vec<(u16, u16)>,
}

impl Cluster {
    /// Starts one that notices after 1 s that a server is dead.
    pub fn start(engine: &Engine) -> Self {
        Self::start_with(engine, &[])
    }

    /// Starts one whose servers have more arguments.
    pub fn start_with(engine: &Engine, more: &[&str]) -> Self {
        let shelter = Shelter::new();
        let arguments = [
            &["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"],
            &["--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"],
            more,
        ]
        .concat();
        let servers = (0..2 * PRIMARIES).map(|_| Server::start(engine, shelter.path(), &arguments));
        let cluster = Self { servers: servers.collect(), shelter };
        cluster.form();
        cluster
    }

    fn form(&self) {
        self.servers.iter().for_each(Server::answers);
        let mut clients: Vec<Client> = self.servers.iter().map(Server::connect).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.does(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
        }
        for (number, client) in clients.iter_mut().take(PRIMARIES).enumerate() {
            let [first, next] =
                [number, number + 1].map(|number| number * 16_384 / PRIMARIES).map(|slot| slot);
            client.does(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1));
        }
        for server in &self.servers[1..] {
            let (address, bus) = (server.address, server.bus);
            let meet = format!("CLUSTER MEET {} {} {bus}", address.ip(), address.port());
            clients[0].does(&meet);
        }
        eventually("all servers know each other", || {
            (0..clients.len()).all(|number| self.members(number).len() == clients.len())
        });
        for number in PRIMARIES..2 * PRIMARIES {
            let primary = clients[number - PRIMARIES].does("CLUSTER MYID").text();
            let replicate = format!("CLUSTER REPLICATE {primary}");
            // It may not have heard yet that the other one is a primary.
            eventually("it replicates", || {
                clients[number].ask(&replicate.split(' ').collect::<Vec<_>>()).is_ok()
            });
        }
        self.is_whole();
    }

    /// Waits until every living server sees all slots served, and every replica that lives has its
    /// primary's data.
    pub fn is_whole(&self) {
        eventually("the cluster is whole", || {
            let living = self.servers.iter().filter(|server| server.is_alive());
            living.map(Server::connect).all(|mut client| {
                let info = client.does("CLUSTER INFO").text();
                let role = client.does("ROLE");
                let linked = role.list().first().is_none_or(|role| role.text() != "slave")
                    || role.list().get(3).is_some_and(|link| link.text() == "connected");
                info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_ok:16384")
                    && linked
            })
        });
    }

    /// Returns the YAML of `swarms` for a node that shares over it, with more keys of `share`.
    pub fn share(&self, more: &str) -> String {
        let some: Vec<_> = self.servers.iter().take(PRIMARIES).map(|one| one.address).collect();
        share(&some, "cluster", more)
    }

    /// Returns the slot of a part's log.
    pub fn slot(&self, part: usize) -> u16 {
        let answer = self.any().does(&format!("CLUSTER KEYSLOT {}", log(part)));
        answer.integer().and_then(|slot| slot.try_into().ok()).expect("a slot")
    }

    /// Returns the number of the primary that has a part's log.
    pub fn primary_of(&self, part: usize) -> usize {
        let slot = self.slot(part);
        let members = self.members(self.any_number());
        let holds =
            |one: &&Member| one.slots.iter().any(|(from, to)| (*from..=*to).contains(&slot));
        members.iter().find(holds).expect("a primary").number
    }

    /// Returns the number of a living replica of a primary, when there is one.
    pub fn replica_of(&self, primary: usize) -> usize {
        let mut found = None;
        eventually("there is a replica", || {
            let members = self.members(primary);
            let own = members.iter().find(|one| one.number == primary);
            let is_its = |one: &&Member| {
                own.is_some_and(|own| one.primary == own.id) && self.servers[one.number].is_alive()
            };
            found = members.iter().find(is_its).map(|one| one.number);
            found.is_some()
        });
        found.expect("it was found")
    }

    /// Has a replica take its primary's place, without loss. Returns the replica's number.
    pub fn fail_over(&self, primary: usize) -> usize {
        let replica = self.replica_of(primary);
        self.servers[replica].connect().does("CLUSTER FAILOVER");
        self.is_primary(replica);
        replica
    }

    /// Waits until a server is a primary, as others see it too.
    pub fn is_primary(&self, number: usize) {
        eventually("the replica is the primary", || {
            let living = (0..self.servers.len()).filter(|at| self.servers[*at].is_alive());
            let mut seen = living.map(|at| {
                let members = self.members(at);
                let one = members.iter().find(|one| one.number == number);
                one.is_some_and(|one| one.flags.iter().any(|flag| flag == "master"))
            });
            seen.all(|is_primary| is_primary)
        });
    }

    /// Keeps the replicas of a primary out for good, while others who are connected stay in: what is
    /// written from now on dies with the primary.
    pub fn cut_off_replicas(&self, primary: usize) {
        let mut client = self.servers[primary].connect();
        client.does("CONFIG SET requirepass x");
        client.does("CLIENT KILL TYPE replica");
    }

    /// Moves the slot of a part's log, with what is in it, to another primary. Returns its number.
    pub fn move_part(&self, part: usize) -> usize {
        let (slot, from) = (self.slot(part), self.primary_of(part));
        let members = self.members(from);
        let is_other = |one: &&Member| !one.slots.is_empty() && one.number != from;
        let to = members.iter().find(is_other).expect("another primary");
        let id = |number| &members.iter().find(|one| one.number == number).expect("it is there").id;
        let (source, target) = (id(from).clone(), to.id.clone());
        let to = to.number;
        let mut at_source = self.servers[from].connect();
        let mut at_target = self.servers[to].connect();
        at_target.does(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}"));
        at_source.does(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}"));
        loop {
            let keys = at_source.does(&format!("CLUSTER GETKEYSINSLOT {slot} 10"));
            if keys.list().is_empty() {
                break;
            }
            let address = self.servers[to].address;
            for key in keys.list().iter().map(Value::text) {
                let (ip, port) = (address.ip(), address.port());
                at_source.does(&format!("MIGRATE {ip} {port} {key} 0 5000"));
            }
        }
        at_target.does(&format!("CLUSTER SETSLOT {slot} NODE {target}"));
        at_source.does(&format!("CLUSTER SETSLOT {slot} NODE {target}"));
        eventually("the slot is there", || self.primary_of(part) == to);
        to
    }

    /// Deletes all data of all servers.
    pub fn empty(&self) {
        for server in self.servers.iter().filter(|server| server.is_alive()) {
            // Replicas refuse it, and follow their primaries.
            let _ = server.connect().ask(&["FLUSHALL"]);
        }
    }

    /// Sends a signal such as `STOP` or `CONT` to all servers.
    pub fn signal(&self, name: &str) {
        self.servers.iter().for_each(|server| server.signal(name));
    }

    /// Returns the CPU time of all servers.
    pub fn cpu(&self) -> Duration {
        self.servers.iter().map(Server::cpu).sum()
    }

    /// Returns the folder of the servers, which ends with them.
    pub fn shelter(&self) -> &Shelter {
        &self.shelter
    }

    fn any_number(&self) -> usize {
        self.servers.iter().position(Server::is_alive).expect("a living server")
    }

    fn any(&self) -> Client {
        self.servers[self.any_number()].connect()
    }

    /// Returns all members, as a server sees them. There are fewer while they get to know each other.
    fn members(&self, number: usize) -> Vec<Member> {
        let Ok(text) = self.servers[number].connect().ask(&["CLUSTER", "NODES"]) else {
            return Vec::new();
        };
        let text = text.text();
        text.lines().filter_map(|line| self.member(line)).collect()
    }

    /// Parses `ID ADDRESS:PORT@BUS[,NAME] FLAGS PRIMARY PING PONG EPOCH LINK SLOTS…`.
    fn member(&self, line: &str) -> Option<Member> {
        let words: Vec<&str> = line.split(' ').collect();
        let address = words.get(1)?.split('@').next()?.parse().ok()?;
        let number = self.servers.iter().position(|server| server.address == address)?;
        let flags: Vec<String> = words.get(2)?.split(',').map(str::to_owned).collect();
        if flags.iter().any(|flag| flag == "handshake") {
            return None;
        }
        let slots = words.get(8..).unwrap_or_default().iter().filter_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            Some((from.parse().ok()?, to.parse().ok()?))
        });
        let slots = slots.collect();
        let [id, primary] = [0, 3].map(|at| words[at].to_owned());
        Some(Member { number, id, flags, primary, slots })
    }
}

/// Returns the key of a part's log.
fn log(part: usize) -> String {
    format!("{NAME}:{{{part}}}:log")
}
