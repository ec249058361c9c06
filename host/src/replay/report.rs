//! What is different, how often, for whom, and an example of each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use karuta_bittorrent::InfoHash;

use super::change::{Change, Counted, Example, Said, Side};
use super::judged::Judged;
use super::stage::After;
use crate::decisions::{prefix, time};
use crate::metrics::{Action, Outcome, TRANSPORTS};
use crate::recording::Record;

/// The differences that were found.
#[derive(Default)]
pub struct Report {
    pub requests: u64,
    /// Requests that become the same.
    pub same: u64,
    /// Requests that cannot be read any more.
    pub unreadable: u64,
    /// Requests that become something else even if nothing is changed.
    pub drifted: u64,
    changes: BTreeMap<Key, Tally>,
    /// By outcome and who decided, before and after.
    matrix: HashMap<[(u8, String); 2], u64>,
}

/// What is different.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum What {
    Outcome,
    /// The same outcome, but another policy or limit has decided.
    DecidedBy,
    /// The client is told another reason.
    Reason,
    /// The client is told other intervals.
    Interval,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    what: What,
    /// The names of the outcomes, and who decided.
    before: (&'static str, String),
    after: (&'static str, String),
}

/// Those whom a difference is about.
#[derive(Default)]
struct Tally {
    count: u64,
    clients: HashMap<String, u64>,
    networks: HashMap<String, u64>,
    agents: HashMap<String, u64>,
    torrents: HashMap<InfoHash, u64>,
    /// The first one, with its place.
    example: Option<(usize, Example)>,
}

/// How many of the most frequent ones are shown.
const SHOWN: usize = 5;
/// The bytes of a peer id that say which client it is.
const AGENT: usize = 8;

impl What {
    pub const ALL: [Self; 4] = [Self::Outcome, Self::DecidedBy, Self::Reason, Self::Interval];

    pub fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::DecidedBy => "decided_by",
            Self::Reason => "reason",
            Self::Interval => "interval",
        }
    }

    /// Returns the most important difference.
    fn between(before: &Judged, after: &Judged) -> Option<Self> {
        if before.outcome != after.outcome {
            Some(Self::Outcome)
        } else if before.decided_by != after.decided_by {
            Some(Self::DecidedBy)
        } else if before.reason != after.reason {
            Some(Self::Reason)
        } else if before.intervals != after.intervals {
            Some(Self::Interval)
        } else {
            None
        }
    }
}

impl Report {
    /// Adds what became of a request, and what becomes of it.
    pub(super) fn add(&mut self, at: usize, record: &Record, before: Judged, after: After) {
        let After { judged, exchange } = after;
        self.requests += 1;
        self.unreadable += u64::from(judged.outcome == Outcome::Invalid);
        let pair = [&before, &judged].map(|one| (one.outcome as u8, one.decided_by.to_owned()));
        *self.matrix.entry(pair).or_default() += 1;
        let Some(what) = What::between(&before, &judged) else {
            self.same += 1;
            return;
        };
        let side = |one: &Judged| (one.outcome.name(), one.decided_by.to_owned());
        let key = Key { what, before: side(&before), after: side(&judged) };
        let tally = self.changes.entry(key).or_default();
        tally.count += 1;
        let announce = &exchange.request.announce;
        let is_known = judged.outcome != Outcome::Invalid;
        add_one(&mut tally.clients, record.client.to_string());
        add_one(&mut tally.networks, prefix(record.client).to_string());
        let agent = announce.peer_id.0[..AGENT].escape_ascii().to_string();
        if is_known {
            add_one(&mut tally.torrents, announce.info_hash);
            if !record.is_scrape {
                add_one(&mut tally.agents, agent.clone());
            }
        }
        if tally.example.is_some() {
            return;
        }
        let trace = exchange.trace.get();
        let steps = trace.into_iter().flat_map(|trace| trace.steps()).map(|step| Said {
            policy: step.policy.to_string(),
            verdict: step.said.to_owned(),
            remembered: step.remembered,
            shadow: false,
        });
        let shadows = trace.into_iter().flat_map(|trace| trace.shadows());
        let shadows = shadows.map(|(policy, verdict, _)| Said {
            policy: policy.to_owned(),
            verdict: verdict.to_owned(),
            remembered: false,
            shadow: true,
        });
        let transport = TRANSPORTS.iter().find(|(known, _)| *known == record.transport);
        let action = if record.is_scrape { Action::Scrape } else { Action::Announce };
        let shown = |text: String| if is_known { text } else { String::new() };
        let example = Example {
            time: time(record.time / 1000),
            transport: transport.map_or("", |(_, name)| name).to_owned(),
            action: action.name().to_owned(),
            client: record.client.to_string(),
            info_hash: shown(announce.info_hash.to_string()),
            agent: shown(if record.is_scrape { String::new() } else { agent }),
            intervals: [before.intervals, judged.intervals],
            reasons: [before.reason, judged.reason].map(str::to_owned),
            policies: steps.chain(shadows).collect(),
        };
        tally.example = Some((at, example));
    }

    /// Adds the differences of other requests.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.same += other.same;
        self.unreadable += other.unreadable;
        self.drifted += other.drifted;
        add_all(&mut self.matrix, other.matrix);
        for (key, found) in other.changes {
            let tally = self.changes.entry(key).or_default();
            tally.count += found.count;
            add_all(&mut tally.clients, found.clients);
            add_all(&mut tally.networks, found.networks);
            add_all(&mut tally.agents, found.agents);
            add_all(&mut tally.torrents, found.torrents);
            let examples = [tally.example.take(), found.example].into_iter().flatten();
            tally.example = examples.min_by_key(|(at, _)| *at);
        }
        self
    }

    /// Returns whether nothing is different.
    pub fn is_same(&self) -> bool {
        self.same == self.requests
    }

    /// Returns how often each pair of outcomes is there, before and after.
    pub fn outcomes(&self) -> Vec<([&'static str; 2], u64)> {
        let mut counts = BTreeMap::new();
        for ([(before, _), (after, _)], count) in &self.matrix {
            *counts.entry((*before, *after)).or_insert(0) += count;
        }
        counts.into_iter().map(|((a, b), count)| ([name(a), name(b)], count)).collect()
    }

    /// Returns how often each pair of outcomes and deciders is there, the most frequent first.
    pub fn by_policy(&self) -> Vec<(Side, Side, u64)> {
        let mut pairs: Vec<_> = self.matrix.iter().collect();
        pairs.sort_by_key(|(pair, count)| (Reverse(**count), *pair));
        pairs
            .into_iter()
            .map(|([before, after], count)| {
                let side = |(outcome, by): &(u8, String)| Side::of(name(*outcome), by);
                (side(before), side(after), *count)
            })
            .collect()
    }

    /// Returns each kind of difference, the most frequent first.
    pub fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<_> = self.changes.iter().collect();
        changes.sort_by_key(|(_, tally)| Reverse(tally.count));
        changes
            .into_iter()
            .map(|(key, tally)| Change {
                what: key.what.name().to_owned(),
                count: tally.count,
                before: Side::of(key.before.0, &key.before.1),
                after: Side::of(key.after.0, &key.after.1),
                clients: most(tally.clients.iter()),
                networks: most(tally.networks.iter()),
                agents: most(tally.agents.iter()),
                torrents: most(tally.torrents.iter()),
                example: tally.example.as_ref().map(|(_, example)| example.clone()),
            })
            .collect()
    }
}

/// Returns the name of an outcome.
fn name(outcome: u8) -> &'static str {
    Outcome::ALL.get(usize::from(outcome)).map_or("", |outcome| outcome.name())
}

fn add_one<K: Eq + Hash>(counts: &mut HashMap<K, u64>, key: K) {
    *counts.entry(key).or_default() += 1;
}

fn add_all<K: Eq + Hash>(counts: &mut HashMap<K, u64>, more: HashMap<K, u64>) {
    for (key, count) in more {
        *counts.entry(key).or_default() += count;
    }
}

/// Returns the most frequent ones.
fn most<'a, K: ToString + 'a>(counts: impl Iterator<Item = (&'a K, &'a u64)>) -> Vec<Counted> {
    let counted = counts.map(|(name, count)| Counted { name: name.to_string(), count: *count });
    let mut all: Vec<_> = counted.collect();
    all.sort_by(|one, other| (other.count, &one.name).cmp(&(one.count, &other.name)));
    all.truncate(SHOWN);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Exchange;

    fn judged(outcome: Outcome, decided_by: &'static str, interval: u32) -> Judged<'static> {
        Judged { outcome, decided_by, reason: "", intervals: [interval; 2] }
    }

    /// Returns a report of these, before and after, of clients 192.0.2.0, 192.0.2.1 and so on.
    fn report(first: u8, pairs: &[[Judged<'static>; 2]]) -> Report {
        let mut report = Report::default();
        for (client, [before, after]) in (first..).zip(pairs) {
            let head = [&[0; 32][..], &[192, 0, 2, client]].concat();
            let record = Record::read(&head).unwrap();
            let exchange = Exchange::default();
            let after = After { judged: *after, exchange: &exchange };
            report.add(client.into(), &record, *before, after);
        }
        report
    }

    #[test]
    fn reports_of_lanes_are_one_report() {
        let ok = judged(Outcome::Ok, "", 1800);
        let slower = judged(Outcome::Ok, "", 1860);
        let [by_a, by_b] = ["a", "b"].map(|policy| judged(Outcome::Rejected, policy, 0));
        let one = report(10, &[[ok, ok], [ok, by_a], [by_a, by_b], [ok, slower]]);
        let other = report(0, &[[ok, by_a], [ok, by_a]]);
        let report = one.merge(other);
        assert_eq!((report.requests, report.same, report.is_same()), (6, 1, false));
        let changes = report.changes();
        let shown: Vec<_> = changes.iter().map(|one| (&*one.what, one.count)).collect();
        assert_eq!(shown, [("outcome", 3), ("decided_by", 1), ("interval", 1)]);
        let clients: Vec<_> = changes[0].clients.iter().map(|one| &*one.name).collect();
        assert_eq!(clients, ["192.0.2.0", "192.0.2.1", "192.0.2.11"]);
        assert_eq!(changes[0].networks[0], Counted { name: "192.0.2.0/24".into(), count: 3 });
        assert_eq!(changes[0].example.as_ref().unwrap().client, "192.0.2.0", "the first one");
        assert_eq!(
            report.outcomes(),
            [(["ok", "ok"], 2), (["ok", "rejected"], 3), (["rejected", "rejected"], 1)]
        );
        assert_eq!(report.by_policy()[0].2, 3);
    }
}
