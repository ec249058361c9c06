//! Swarms that nodes share: where the log is, and how it is written and read.

use std::{
    collections::HashSet,
    fmt,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    problem::{Problem, problem},
    secret::Secret,
    values::{self, is_name, show_duration},
};

/// How swarms are shared with other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Some servers of the engine, at least one, each once; the only one if it is `Single`.
    pub nodes: Vec<Server>,
    #[serde(default)]
    pub topology: Topology,
    /// Nodes with the same name share their swarms; of 1 to 40 of `a` to `z`, `0` to `9` and `-`.
    #[serde(default = "name")]
    pub name: String,
    /// The number of logs, 1 to 64; the same on every node.
    #[serde(default = "parts")]
    pub parts: usize,
    /// How often is sent and fetched; 5 ms to 1 s.
    #[serde(
        default = "every",
        deserialize_with = "values::duration",
        serialize_with = "values::write_duration"
    )]
    pub every: Duration,
    /// The most that waits to be sent, in bytes, 64 KiB to 64 GiB.
    #[serde(default = "queue", deserialize_with = "values::size_in_memory")]
    pub queue: usize,
    /// How long a start waits until the log has been read; 1 s to 10 min.
    #[serde(
        default = "catch_up",
        deserialize_with = "values::duration",
        serialize_with = "values::write_duration"
    )]
    pub catch_up: Duration,
    /// For connecting, and for each answer; 100 ms to 10 s.
    #[serde(
        default = "timeout",
        deserialize_with = "values::duration",
        serialize_with = "values::write_duration"
    )]
    pub timeout: Duration,
    /// If `None`, the engine's default user. Only with a password.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// If `None`, connections are not encrypted.
    pub tls: Option<ShareTls>,
}

/// What the servers of the engine are to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Each has some of the keys. Those that are not named are found.
    #[default]
    Cluster,
    /// There is one.
    Single,
}

/// How connections to the engine are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShareTls {
    /// Issuers in PEM; if `None`, those that the system trusts.
    pub ca: Option<PathBuf>,
    /// A certificate of this node, in PEM. Only with its key.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// The address of a server: a host name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

const MAX_SERVERS: usize = 64;
const MAX_PARTS: usize = 64;
const MIN_QUEUE: usize = 64 << 10;
const MAX_QUEUE: usize = 64 << 30;

fn name() -> String {
    "karuta".to_owned()
}

fn parts() -> usize {
    4
}

fn every() -> Duration {
    Duration::from_millis(20)
}

fn queue() -> usize {
    64 << 20
}

fn catch_up() -> Duration {
    Duration::from_secs(30)
}

fn timeout() -> Duration {
    Duration::from_secs(1)
}

impl Topology {
    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Single => "single",
        }
    }
}

impl Share {
    /// Checks it by itself.
    pub(super) fn check(&self) -> Result<(), Problem> {
        const PATH: &str = "swarms.share";
        self.check_servers()?;
        if !is_name(&self.name) {
            let message =
                format!("invalid name `{}`, expected 1 to 40 of a to z, 0 to 9 and -", self.name);
            return problem(format!("{PATH}.name"), message);
        }
        if !(1..=MAX_PARTS).contains(&self.parts) {
            let message = format!("{} is out of range, expected 1 to {MAX_PARTS}", self.parts);
            return problem(format!("{PATH}.parts"), message);
        }
        if !(MIN_QUEUE..=MAX_QUEUE).contains(&self.queue) {
            return problem(format!("{PATH}.queue"), "out of range, expected 64KiB to 64GiB");
        }
        let durations = [
            ("every", self.every, Duration::from_millis(5), Duration::from_secs(1)),
            ("catch_up", self.catch_up, Duration::from_secs(1), Duration::from_mins(10)),
            ("timeout", self.timeout, Duration::from_millis(100), Duration::from_secs(10)),
        ];
        for (key, value, least, most) in durations {
            if !(least..=most).contains(&value) {
                let [value, least, most] = [value, least, most].map(show_duration);
                let message = format!("{value} is out of range, expected {least} to {most}");
                return problem(format!("{PATH}.{key}"), message);
            }
        }
        if let Some(user) = &self.user {
            let visible = |byte: u8| byte.is_ascii_graphic();
            if user.is_empty() || !user.bytes().all(visible) {
                let message = "not a user of the engine, expected visible ASCII without spaces";
                return problem(format!("{PATH}.user"), message);
            }
            if self.password.is_none() {
                return problem(format!("{PATH}.user"), "a user without a `password`");
            }
        }
        let Some(tls) = &self.tls else { return Ok(()) };
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => problem(format!("{PATH}.tls.certificate"), "expected a `key` too"),
            (None, Some(_)) => problem(format!("{PATH}.tls.key"), "expected a `certificate` too"),
            _ => Ok(()),
        }
    }

    fn check_servers(&self) -> Result<(), Problem> {
        const PATH: &str = "swarms.share.nodes";
        if self.nodes.is_empty() {
            return problem(PATH, "empty, expected at least one server of the engine");
        }
        if self.nodes.len() > MAX_SERVERS {
            let message = format!(
                "{} servers, expected at most {MAX_SERVERS}; the others are found",
                self.nodes.len()
            );
            return problem(PATH, message);
        }
        if self.topology == Topology::Single && self.nodes.len() > 1 {
            return problem(
                format!("{PATH}[1]"),
                "a second server, expected one with `topology: single`",
            );
        }
        let mut seen = HashSet::new();
        for (at, server) in self.nodes.iter().enumerate() {
            if !seen.insert(server) {
                return problem(format!("{PATH}[{at}]"), format!("`{server}` is there already"));
            }
        }
        Ok(())
    }

    /// Makes paths relative to `folder`.
    pub(super) fn resolve(&mut self, folder: &Path) {
        if let Some(tls) = &mut self.tls {
            let files = [&mut tls.ca, &mut tls.certificate, &mut tls.key];
            files.into_iter().flatten().for_each(|file| *file = folder.join(&*file));
        }
    }

    /// Reads the password; a relative file is relative to `folder`.
    pub(super) fn fetch_secrets(&mut self, folder: &Path) -> Result<(), Problem> {
        let Some(password) = &mut self.password else { return Ok(()) };
        password.fetch_text(folder).or_else(|message| problem("swarms.share.password", message))
    }
}

impl FromStr for Server {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(())?;
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_host = match inside {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => (1..=253).contains(&host.len()) && host.bytes().all(of_name),
        };
        let host = inside.unwrap_or(host).to_owned();
        if is_host { Ok(Self { host, port }) } else { Err(()) }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        values::server(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_they_are_read() {
        for text in ["10.0.0.1:6379", "[fd00::1]:6379", "valkey-1.example.org:1"] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), text);
        }
        for text in ["10.0.0.1", "a:0", "a:65536", ":1", "fd00::1:6379", "[a]:1", "a b:1", "u@a:1"]
        {
            assert_eq!(text.parse::<Server>(), Err(()), "{text}");
        }
    }
}
