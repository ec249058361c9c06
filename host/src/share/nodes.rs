//! The table of nodes: what this one enters, and what it learns of the others.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use karuta_swarm::FORMAT;
use nix::unistd::gethostname;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::engine::{Failure, Log, Table};
use super::runner::Common;
use crate::metrics::{Direction, ShareError, ShownEngine, ShownNode};
use crate::time;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct About {
    name: String,
    version: String,
    /// The formats of batches that it reads.
    formats: Vec<u8>,
    parts: usize,
    /// How long it keeps what is in the log, in seconds.
    lifetime: Option<u64>,
    /// When it was started, in seconds since 1970.
    since: u64,
    /// In milliseconds.
    behind: u64,
    /// Another number each time.
    beat: u64,
}

/// This node among the others.
pub struct Nodes<E> {
    common: Rc<Common<E>>,
    id: String,
    since: u64,
    beat: Cell<u64>,
    /// What the others said last, and since when they have said the same.
    others: RefCell<HashMap<String, (String, Instant)>>,
    /// Those that do not read what this node writes.
    strangers: RefCell<Vec<String>>,
    /// Those that keep the log for another time.
    untimely: RefCell<Vec<String>>,
}

/// How often a node says that it is there.
const EVERY: Duration = Duration::from_secs(5);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(250);
/// A node that has said nothing for so long is taken out of the table.
const GONE: Duration = Duration::from_secs(30);
/// The most nodes that are shown, and the longest names, in bytes.
const MOST: usize = 100;
const LONGEST: usize = 64;

impl<E: Log + Table> Nodes<E> {
    pub fn new(common: Rc<Common<E>>, node: u64) -> Self {
        let since = time::since_1970().as_secs();
        Self {
            common,
            id: format!("{node:016x}"),
            since,
            beat: Cell::default(),
            others: RefCell::default(),
            strangers: RefCell::default(),
            untimely: RefCell::default(),
        }
    }

    /// Keeps this node in the table, until it is dropped.
    pub async fn stay(&self) {
        loop {
            let pause = match self.tell().await {
                Ok(()) => EVERY,
                Err(failure) => {
                    self.fail(&failure);
                    PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// Takes this node out of the table.
    pub async fn leave(&self) {
        // Otherwise another one does it, later.
        let _ = self.common.engine.leave(&self.id).await;
    }

    async fn tell(&self) -> Result<(), Failure> {
        let Common { engine, share, gate, .. } = &*self.common;
        let parts = share.parts.len();
        let (own, found) = (format(parts), engine.claim(&format(parts)).await?);
        if found != own {
            let reason = otherwise(&found);
            if share.set_refused(Some(reason.clone())) {
                tracing::error!("swarms are not shared: {reason}");
            }
            gate.refuse(reason);
            return Ok(());
        }
        share.set_refused(None);
        gate.open();
        let all = engine.enter(&self.id, &self.about()).await?;
        for gone in self.meet(all, Instant::now()) {
            engine.leave(&gone).await?;
        }
        let engine = engine.describe().await?;
        share.set_engine(ShownEngine { kind: short(&engine.kind), servers: engine.servers });
        Ok(())
    }

    /// Learns what the others say. Returns those that have said nothing new for long.
    fn meet(&self, all: Vec<(String, String)>, now: Instant) -> Vec<String> {
        let mut others = self.others.borrow_mut();
        let before = std::mem::take(&mut *others);
        let (mut gone, mut shown) = (Vec::new(), Vec::new());
        let (mut strangers, mut untimely) = (Vec::new(), Vec::new());
        let own_lifetime = self.common.lifetime.as_secs();
        for (id, said) in all.into_iter().filter(|(id, _)| *id != self.id) {
            let since = before.get(&id).filter(|(before, _)| *before == said);
            let since = since.map_or(now, |(_, since)| *since);
            if now.duration_since(since) >= GONE {
                gone.push(id);
                continue;
            }
            if let Ok(about) = serde_json::from_str::<About>(&said)
                && shown.len() < MOST
            {
                let About { name, version, formats, behind, lifetime, .. } = about;
                if !formats.contains(&FORMAT) {
                    strangers.push(short(&name));
                }
                if lifetime.is_some_and(|lifetime| lifetime != own_lifetime) {
                    untimely.push(short(&name));
                }
                let (name, version) = (short(&name), short(&version));
                shown.push(ShownNode { name, version, behind_ms: behind });
            }
            others.insert(id, (said, since));
        }
        shown.sort_by(|one, other| one.name.cmp(&other.name));
        self.common.share.set_nodes(shown);
        if *self.strangers.borrow() != strangers {
            for node in &strangers {
                tracing::warn!(node, format = FORMAT, "node does not read what this one writes");
            }
            *self.strangers.borrow_mut() = strangers;
        }
        if *self.untimely.borrow() != untimely {
            for node in &untimely {
                tracing::warn!(
                    node,
                    "node has another tracker.peer_lifetime; the shortest one trims the log of all"
                );
            }
            *self.untimely.borrow_mut() = untimely;
        }
        gone
    }

    fn about(&self) -> String {
        self.beat.set(self.beat.get() + 1);
        let name = gethostname().map(|name| name.to_string_lossy().into_owned());
        let about = About {
            name: name.unwrap_or_else(|_| self.id.clone()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            formats: vec![FORMAT],
            parts: self.common.share.parts.len(),
            lifetime: Some(self.common.lifetime.as_secs()),
            since: self.since,
            behind: u64::try_from(self.common.share.behind().as_millis()).unwrap_or(u64::MAX),
            beat: self.beat.get(),
        };
        // Numbers and texts can be written.
        serde_json::to_string(&about).unwrap_or_default()
    }

    fn fail(&self, failure: &Failure) {
        let Common { share, gate, .. } = &*self.common;
        share.error(if failure.is_unconnected { ShareError::Connect } else { ShareError::Table });
        if gate.is_open() {
            return;
        }
        // The parts have not asked for anything yet.
        let news = share.parts.iter().map(|part| part.failed(Direction::Read, &failure.text));
        if news.fold(false, |any, is_news| any | is_news) {
            let reason = &failure.text;
            tracing::warn!(
                reason,
                "cannot reach the log of shared swarms; serving what is known here"
            );
        }
        gate.cut_off();
    }
}

/// Says how the logs are written: the format of their entries, and how many there are.
fn format(parts: usize) -> String {
    format!("{FORMAT} {parts}")
}

/// Says how logs are that are written in another way.
fn otherwise(found: &str) -> String {
    match found.split_once(' ') {
        Some((format, parts)) if format == FORMAT.to_string() && parts.parse::<u32>().is_ok() => {
            format!("the log has {parts} parts")
        }
        _ => format!(
            "the log is of another kind: the key `NAME:{{nodes}}:format` holds `{}`; take another \
             swarms.share.name, or delete that key if no other node runs",
            short(found)
        ),
    }
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use karuta_swarm::{Options, Shared, Sharing};

    use super::super::progress::{Gate, Progress};
    use super::super::stand_in::StandIn;
    use super::*;
    use crate::metrics::Share;

    fn node(engine: &Rc<StandIn>, number: u64, parts: usize) -> Nodes<Rc<StandIn>> {
        let sharing = Sharing { node: number, parts, queue: 1 << 20 };
        let common = Common {
            engine: engine.clone(),
            store: Arc::new(Shared::sharing(Options::default(), sharing).0),
            share: Arc::new(Share::new("karuta", "single", parts)),
            gate: Gate::new(parts).0,
            every: Duration::from_millis(20),
            lifetime: Duration::from_mins(45),
            start: Instant::now(),
            restored: None,
        };
        Nodes::new(Rc::new(common), number)
    }

    #[tokio::test]
    async fn nodes_see_each_other_until_one_leaves() {
        let engine = StandIn::new(2);
        let (one, two) = (node(&engine, 1, 2), node(&engine, 2, 2));
        one.tell().await.unwrap();
        assert!(one.common.gate.is_open() && one.common.share.nodes().is_empty());
        two.tell().await.unwrap();
        one.tell().await.unwrap();
        let [other] = &*one.common.share.nodes() else { panic!("one other") };
        assert_eq!(other.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(one.common.share.engine().unwrap().kind, "stand-in");
        two.leave().await;
        one.tell().await.unwrap();
        assert!(one.common.share.nodes().is_empty());
    }

    #[tokio::test]
    async fn who_says_nothing_new_is_taken_out() {
        let one = node(&StandIn::new(1), 1, 1);
        let (said, begin) = (one.about(), Instant::now());
        let meet = |said: &str, after| {
            let all = vec![("2".to_owned(), said.to_owned()), ("3".to_owned(), "{".to_owned())];
            one.meet(all, begin + Duration::from_secs(after))
        };
        assert!(meet(&said, 0).is_empty() && meet(&said, 20).is_empty());
        let said = one.about();
        assert!(meet(&said, 25).is_empty());
        assert_eq!(one.common.share.nodes().len(), 1, "what cannot be read is not shown");
        assert!(one.untimely.borrow().is_empty());
        meet(&one.about().replace("2700", "60"), 26);
        assert_eq!(one.untimely.borrow().len(), 1);
        meet(&said, 27);
        assert_eq!(meet(&said, 40), ["3"]);
        let mut gone = meet(&said, 60);
        gone.sort();
        assert_eq!(gone, ["2"]);
        assert!(one.common.share.nodes().is_empty());
    }

    #[tokio::test]
    async fn logs_that_are_written_in_another_way_are_not_touched() {
        let engine = StandIn::new(4);
        node(&engine, 1, 8).tell().await.unwrap();
        let two = node(&engine, 2, 4);
        two.tell().await.unwrap();
        assert!(!two.common.gate.is_open());
        assert_eq!(two.common.share.refused().as_deref(), Some("the log has 8 parts"));
        assert!(!engine.nodes.borrow().contains_key(&two.id));
        assert!(otherwise("2 4").contains("{nodes}:format` holds `2 4`"), "{}", otherwise("2 4"));
        // The engine has been emptied.
        *engine.format.borrow_mut() = None;
        two.tell().await.unwrap();
        assert!(two.common.gate.is_open() && two.common.share.refused().is_none());
    }

    #[tokio::test]
    async fn a_start_knows_that_the_engine_is_away() {
        let engine = StandIn::new(2);
        let one = node(&engine, 1, 2);
        *engine.failing.borrow_mut() = Some("NOAUTH Authentication required.");
        let failure = one.tell().await.unwrap_err();
        one.fail(&failure);
        let off = one.common.share.cut_off().unwrap();
        assert_eq!((off.parts, off.reason), (vec![0, 1], failure.text));
    }

    #[test]
    fn a_gate_tells_how_far_a_start_has_come() {
        let (gate, progress) = Gate::new(2);
        assert_eq!(*progress.borrow(), Progress::Reading);
        gate.caught_up(0);
        gate.cut_off();
        assert_eq!(*progress.borrow(), Progress::CutOff);
        gate.caught_up(1);
        gate.cut_off();
        assert_eq!(*progress.borrow(), Progress::CaughtUp);
    }
}
