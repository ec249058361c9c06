//! The engine's commands, by the crate `redis`.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use redis::cluster_routing::Slot;
use redis::{Cmd, Value, cmd};

use super::connection::{Link, Place};
use super::engine::{Description, End, Entry, EntryId, Failure, Log, Table};
use super::settings::Settings;
use crate::config::Topology;

/// An engine that speaks the protocol of Redis.
pub struct Redis {
    link: Link,
    keys: Keys,
    topology: Topology,
    /// The servers of a cluster that have the keys, for the words of failures.
    servers: RefCell<HashMap<Slot, String>>,
}

/// The names of keys.
struct Keys {
    logs: Vec<String>,
    nodes: String,
    format: String,
    slots: HashSet<Slot>,
}

/// The field of an entry that holds the batch.
const FIELD: &[u8] = b"d";

impl Redis {
    /// Prepares requests; the first one connects. Must be called, and used, within a runtime of one
    /// thread.
    ///
    /// # Errors
    ///
    /// The crate refuses the settings.
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        Ok(Self {
            link: Link::new(settings)?,
            keys: Keys::new(&settings.name, settings.parts),
            topology: settings.topology,
            servers: RefCell::default(),
        })
    }

    /// Sends a command to the server that has the key.
    async fn ask(&self, key: &str, command: Cmd) -> Result<Value, Failure> {
        let answer = self.link.ask(Place::Key(key), command).await;
        answer.map_err(|error| self.with_server(key, error))
    }

    /// Sends a command for a part.
    async fn ask_log(&self, part: usize, command: Cmd) -> Result<Value, Failure> {
        self.ask(&self.keys.logs[part], command).await
    }

    /// Says which server it was.
    fn with_server(&self, key: &str, failure: Failure) -> Failure {
        match self.servers.borrow().get(&Slot::for_key(key)) {
            Some(server) if !failure.is_unconnected => {
                Failure { text: format!("{server}: {}", failure.text), ..failure }
            }
            _ => failure,
        }
    }

    /// Asks a cluster which servers it has.
    async fn survey(&self) -> Result<usize, Failure> {
        const COMMAND: &str = "CLUSTER SLOTS";
        let mut slots = cmd("CLUSTER");
        slots.arg("SLOTS");
        let answer = self.link.ask(Place::Any, slots).await?;
        let (mut found, mut all) = (HashMap::new(), HashSet::new());
        for range in list(answer, COMMAND)? {
            let range = list(range, COMMAND)?;
            let [first, last, servers @ ..] = &*range else {
                return Err(Failure::unexpected(COMMAND));
            };
            let servers: Vec<_> = servers.iter().filter_map(server_of).collect();
            if let (Some(first), Some(last), Some(primary)) =
                (number(first), number(last), servers.first())
            {
                let slots = (0..=u16::MAX).map_while(Slot::new).zip(0..);
                let slots = slots.filter(|(_, number)| (first..=last).contains(number));
                let own = slots.filter(|(slot, _)| self.keys.slots.contains(slot));
                found.extend(own.map(|(slot, _)| (slot, primary.clone())));
            }
            all.extend(servers);
        }
        *self.servers.borrow_mut() = found;
        Ok(all.len())
    }
}

impl Log for Redis {
    async fn append(&self, part: usize, batch: &[u8], oldest: u64) -> Result<(), Failure> {
        let mut command = cmd("XADD");
        command.arg(&self.keys.logs[part]).arg("MINID").arg("~").arg(oldest);
        command.arg("*").arg(FIELD).arg(batch);
        self.ask_log(part, command).await.map(drop)
    }

    async fn read(&self, part: usize, after: EntryId, most: usize) -> Result<Vec<Entry>, Failure> {
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(most).arg("STREAMS");
        command.arg(&self.keys.logs[part]).arg(after.to_string());
        entries(self.ask_log(part, command).await?).ok_or_else(|| Failure::unexpected("XREAD"))
    }

    async fn end(&self, part: usize) -> Result<End, Failure> {
        let now = self.ask_log(part, cmd("TIME")).await?;
        let now = clock(now).ok_or_else(|| Failure::unexpected("TIME"))?;
        let mut command = cmd("XINFO");
        command.arg("STREAM").arg(&self.keys.logs[part]);
        match self.ask_log(part, command).await {
            Ok(answer) => {
                let (last, entries) =
                    about_stream(answer).ok_or_else(|| Failure::unexpected("XINFO STREAM"))?;
                Ok(End { last, entries, now })
            }
            Err(failure) if failure.text.contains("no such key") => {
                Ok(End { last: EntryId::default(), entries: 0, now })
            }
            Err(failure) => Err(failure),
        }
    }

    fn renew(&self) {
        self.link.renew();
    }
}

impl Table for Redis {
    async fn claim(&self, format: &str) -> Result<String, Failure> {
        let key = &self.keys.format;
        let mut set = cmd("SET");
        set.arg(key).arg(format).arg("NX");
        self.ask(key, set).await?;
        let mut get = cmd("GET");
        get.arg(key);
        text(&self.ask(key, get).await?).ok_or_else(|| Failure::unexpected("GET"))
    }

    async fn enter(&self, node: &str, about: &str) -> Result<Vec<(String, String)>, Failure> {
        let key = &self.keys.nodes;
        let mut set = cmd("HSET");
        set.arg(key).arg(node).arg(about);
        self.ask(key, set).await?;
        let mut all = cmd("HGETALL");
        all.arg(key);
        let answer = list(self.ask(key, all).await?, "HGETALL")?;
        Ok(pairs(&answer).filter_map(|(node, about)| Some((text(node)?, text(about)?))).collect())
    }

    async fn leave(&self, node: &str) -> Result<(), Failure> {
        let key = &self.keys.nodes;
        let mut delete = cmd("HDEL");
        delete.arg(key).arg(node);
        self.ask(key, delete).await.map(drop)
    }

    async fn describe(&self) -> Result<Description, Failure> {
        let servers = match self.topology {
            Topology::Cluster => Some(self.survey().await?),
            Topology::Single => None,
        };
        let hello = list(self.link.ask(Place::Any, cmd("HELLO")).await?, "HELLO")?;
        let mut facts = pairs(&hello);
        let kind = facts.find(|(key, _)| text(key).as_deref() == Some("server"));
        let kind = kind.and_then(|(_, kind)| text(kind)).unwrap_or_else(|| "engine".to_owned());
        Ok(Description { kind, servers })
    }
}

impl Keys {
    fn new(name: &str, parts: usize) -> Self {
        let logs: Vec<_> = (0..parts).map(|part| format!("{name}:{{{part}}}:log")).collect();
        let nodes = format!("{name}:{{nodes}}:all");
        let slots = logs.iter().chain([&nodes]).map(Slot::for_key).collect();
        Self { logs, nodes, format: format!("{name}:{{nodes}}:format"), slots }
    }
}

fn list(value: Value, command: &str) -> Result<Vec<Value>, Failure> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Failure::unexpected(command)),
    }
}

/// Returns the keys and values of a list that has them in turn.
fn pairs(values: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    values.chunks_exact(2).map(|pair| (&pair[0], &pair[1]))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => (*number).try_into().ok(),
        other => text(other)?.parse().ok(),
    }
}

fn id(value: &Value) -> Option<EntryId> {
    text(value)?.parse().ok()
}

/// Returns the milliseconds since 1970 of seconds and microseconds.
fn clock(value: Value) -> Option<u64> {
    let Value::Array(parts) = value else { return None };
    let [seconds, microseconds] = &*parts else { return None };
    number(seconds)?.checked_mul(1000)?.checked_add(number(microseconds)? / 1000)
}

/// Returns the last id that a stream has given, and its length.
fn about_stream(value: Value) -> Option<(EntryId, u64)> {
    let Value::Array(facts) = value else { return None };
    let fact = |name: &str| {
        pairs(&facts).find(|(key, _)| text(key).as_deref() == Some(name)).map(|(_, value)| value)
    };
    Some((id(fact("last-generated-id")?)?, number(fact("length")?)?))
}

/// Returns the entries of the one stream that was asked for.
fn entries(value: Value) -> Option<Vec<Entry>> {
    let streams = match value {
        Value::Nil => return Some(Vec::new()),
        Value::Array(streams) => streams,
        _ => return None,
    };
    let Some(Value::Array(mut stream)) = streams.into_iter().next() else { return None };
    let Some(Value::Array(entries)) = stream.pop() else { return None };
    entries.into_iter().map(entry).collect()
}

/// Returns an entry. One without a batch is empty, and will be refused as such.
fn entry(value: Value) -> Option<Entry> {
    let Value::Array(parts) = value else { return None };
    let [of, Value::Array(fields)] = <[Value; 2]>::try_from(parts).ok()? else { return None };
    let id = id(&of)?;
    let mut fields = fields.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        if let (Value::BulkString(field), Value::BulkString(batch)) = (field, value)
            && field == FIELD
        {
            return Some(Entry { id, batch });
        }
    }
    Some(Entry { id, batch: Vec::new() })
}

/// Returns the address of a server in `CLUSTER SLOTS`.
fn server_of(value: &Value) -> Option<String> {
    let Value::Array(parts) = value else { return None };
    let [host, port, ..] = &**parts else { return None };
    let (host, port) = (text(host)?, number(port)?);
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(answer: &str) -> Value {
        redis::parse_redis_value(answer.replace(' ', "\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn entries_are_read_and_strange_ones_are_empty() {
        assert_eq!(entries(Value::Nil), Some(vec![]));
        let answer = "*1 *2 $3 log *2 *2 $3 5-1 *2 $1 d $2 ab *2 $3 6-0 *2 $1 e $2 ab ";
        let entry = |milliseconds, number, batch: &[u8]| Entry {
            id: EntryId { milliseconds, number },
            batch: batch.to_vec(),
        };
        assert_eq!(entries(parse(answer)), Some(vec![entry(5, 1, b"ab"), entry(6, 0, b"")]));
        for answer in [":1 ", "*0 ", "*1 $1 a ", "*1 *2 $1 a $1 b ", "*1 *2 $1 a *1 *2 $1 x *0 "] {
            assert_eq!(entries(parse(answer)), None, "{answer}");
        }
    }

    #[test]
    fn the_end_of_a_log_and_the_clock_are_read() {
        let answer = "*4 $6 length :3 $17 last-generated-id $4 17-2 ";
        assert_eq!(about_stream(parse(answer)), Some((EntryId { milliseconds: 17, number: 2 }, 3)));
        assert_eq!(about_stream(parse("*2 $6 length :3 ")), None);
        assert_eq!(clock(parse("*2 $2 12 $6 345678 ")), Some(12_345));
        assert_eq!(clock(parse("*1 $2 12 ")), None);
    }

    #[test]
    fn four_parts_lie_in_four_slots() {
        let keys = Keys::new("karuta", 4);
        let slots = keys.logs.iter().map(|key| Some(Slot::for_key(key)));
        assert!(slots.eq([13907, 9842, 5649, 1584].map(Slot::new)));
    }
}
