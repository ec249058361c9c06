//! `/api/refused`: the last requests that were refused, by whom and why.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::StatusCode;
use ipnet::IpNet;
use karuta_bittorrent::InfoHash;
use serde::Serialize;
use url::form_urlencoded;

use super::Admin;
use super::reply::{Reply, json, line};
use super::request::Request;
use super::shadow::NO_POLICY;
use crate::config::Right;
use crate::decisions::{Entry, LIMITS, Mask, Shown, prefix, time};
use crate::text;
use crate::time;

/// How many refusals are listed unless the query says so, and the most of them.
const SOME: usize = 200;
const MOST: usize = 1000;
/// The most groups of an answer.
const GROUPS: usize = 100;
/// The most minutes that are counted one by one.
const MINUTES: usize = 60;
/// In milliseconds.
const MINUTE: u64 = 60_000;

/// What a query asks for.
#[derive(Debug)]
pub struct Wanted {
    count: usize,
    address: Option<IpNet>,
    info_hash: Option<InfoHash>,
    policy: Option<String>,
    text: Option<String>,
}

/// The last refusals.
#[derive(Serialize)]
pub struct Refusals<'a> {
    /// When the oldest of the last 1000 refusals was made.
    pub since: Option<String>,
    /// How many of them agree with the query.
    pub matching: usize,
    /// How many decisions are not among them, since the start: they came too fast.
    pub lost: u64,
    /// The commonest first.
    pub groups: Vec<Group<'a>>,
    /// The newest first.
    pub refusals: Vec<Shown<'a>>,
}

/// Refusals for the same reason.
#[derive(Serialize)]
pub struct Group<'a> {
    pub decided_by: &'a str,
    pub outcome: &'static str,
    pub reason: &'a str,
    pub count: usize,
    /// When the newest was made.
    pub last: String,
    /// How many were made in each of the last minutes, the oldest first.
    pub minutes: Vec<u32>,
}

/// What is known of a group while refusals are counted.
struct Tally {
    count: usize,
    last: u64,
    minutes: Vec<u32>,
}

/// The last minutes up to now.
#[derive(Clone, Copy)]
struct Minutes {
    /// Milliseconds since 1970.
    now: u64,
    count: usize,
}

impl Admin {
    /// Returns whether there is a policy or a limit with a name.
    pub(super) fn decides(&self, name: &str) -> bool {
        LIMITS.contains(&name) || self.policies.lock().iter().any(|policy| policy.name == name)
    }

    /// Returns what the caller of a request may not see of decisions.
    pub(super) fn mask(&self, request: &Request) -> Mask {
        match self.access.judge(Some(Right::Peers), request, self.tls.is_some()) {
            Ok(_) => Mask::NONE,
            Err(_) => Mask::ALL,
        }
    }
}

/// Answers with the last refusals.
pub fn refused(admin: &Admin, request: &Request) -> Reply {
    let wanted = match wanted(request.head.uri.query().unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
    let mask = admin.mask(request);
    if let Err(reason) = wanted.allow(mask) {
        return line(StatusCode::FORBIDDEN, reason);
    }
    let entries = admin.decisions.refusals();
    // What has refused may be gone since then.
    let is_known = |name: &str| {
        let mut refusers = entries.iter().filter_map(|entry| entry.decision.decided_by.as_deref());
        admin.decides(name) || refusers.any(|refuser| refuser == name)
    };
    if wanted.policy.as_deref().is_some_and(|name| !is_known(name)) {
        return line(StatusCode::NOT_FOUND, NO_POLICY);
    }
    json(StatusCode::OK, &Refusals::of(admin, &entries, &wanted, mask))
}

impl<'a> Refusals<'a> {
    /// Selects those that are wanted of all entries.
    pub fn of(admin: &Admin, entries: &'a [Arc<Entry>], wanted: &Wanted, mask: Mask) -> Self {
        let matching: Vec<_> = entries.iter().filter(|entry| wanted.admits(entry)).collect();
        let now = time::since_1970();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let minutes = Minutes::since(entries.last().map(|entry| entry.decision.unix_ms), now);
        Self {
            since: entries.last().map(|entry| time(entry.decision.unix_ms)),
            matching: matching.len(),
            lost: admin.decisions.lost(),
            groups: groups(&matching, minutes),
            refusals: matching.iter().take(wanted.count).map(|entry| entry.shown(mask)).collect(),
        }
    }
}

impl Wanted {
    /// Allows what does not reveal what a mask hides.
    ///
    /// # Errors
    ///
    /// What is expected.
    pub fn allow(&self, mask: Mask) -> Result<(), &'static str> {
        // Or the rest of an address could be guessed, bit by bit.
        let is_fine = |address: IpNet| address.prefix_len() > prefix(address.addr()).prefix_len();
        match self.address.is_some_and(is_fine) && mask != Mask::NONE {
            true => Err(
                "address: without the right `peers`, expected at most /24 of IPv4, or /48 of IPv6",
            ),
            false => Ok(()),
        }
    }

    fn admits(&self, entry: &Entry) -> bool {
        let Self { count: _, address, info_hash, policy, text } = self;
        let decision = &entry.decision;
        let has_text = |text: &str| {
            let reason = decision.reason.as_deref().unwrap_or_default().to_lowercase();
            reason.contains(&text.to_lowercase())
        };
        address.is_none_or(|network| network.contains(&decision.client))
            && info_hash.is_none_or(|hash| hash == decision.info_hash)
            && policy.as_ref().is_none_or(|name| decision.decided_by.as_deref() == Some(name))
            && text.as_deref().is_none_or(has_text)
    }
}

impl Minutes {
    /// Returns those since the `oldest` refusal, but no more than the last [`MINUTES`].
    fn since(oldest: Option<u64>, now: u64) -> Self {
        let before = now.saturating_sub(oldest.unwrap_or(now)) / MINUTE;
        let count = usize::try_from(before).unwrap_or(MINUTES).saturating_add(1).min(MINUTES);
        Self { now, count }
    }

    /// Returns which of them a time is in.
    fn position(self, unix_ms: u64) -> Option<usize> {
        let ago = usize::try_from(self.now.saturating_sub(unix_ms) / MINUTE).ok()?;
        self.count.checked_sub(ago + 1)
    }
}

/// Counts refusals by who decided and the text.
fn groups<'a>(entries: &[&'a Arc<Entry>], minutes: Minutes) -> Vec<Group<'a>> {
    let mut groups: HashMap<_, Tally> = HashMap::new();
    for decision in entries.iter().map(|entry| &entry.decision) {
        let [by, reason] = [&decision.decided_by, &decision.reason]
            .map(|text| text.as_deref().unwrap_or_default());
        let tally = groups.entry((by, decision.outcome.name(), reason)).or_insert_with(|| Tally {
            count: 0,
            last: 0,
            minutes: vec![0; minutes.count],
        });
        tally.count += 1;
        tally.last = decision.unix_ms.max(tally.last);
        let minute = minutes.position(decision.unix_ms);
        if let Some(count) = minute.and_then(|minute| tally.minutes.get_mut(minute)) {
            *count += 1;
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_unstable_by(|(one, few), (other, many)| {
        many.count.cmp(&few.count).then_with(|| one.cmp(other))
    });
    groups.truncate(GROUPS);
    let shown = |((decided_by, outcome, reason), tally): (_, Tally)| Group {
        decided_by,
        outcome,
        reason,
        count: tally.count,
        last: time(tally.last),
        minutes: tally.minutes,
    };
    groups.into_iter().map(shown).collect()
}

/// Reads a query.
///
/// # Errors
///
/// What is wrong with it.
pub fn wanted(query: &str) -> Result<Wanted, String> {
    let mut wanted =
        Wanted { count: SOME, address: None, info_hash: None, policy: None, text: None };
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = |expected: &str| format!("{key}: expected {expected}");
        match &*key {
            "n" => {
                let number = value.parse().ok().filter(|number| (1..=MOST).contains(number));
                wanted.count = number.ok_or_else(|| wrong(&format!("1 to {MOST}")))?;
            }
            "address" => {
                let network = text::network(&value);
                wanted.address = Some(
                    network
                        .ok_or_else(|| wrong("an address or a range such as 198.51.100.0/24"))?,
                );
            }
            "info_hash" => {
                let hash = InfoHash::from_hex(&value);
                wanted.info_hash = Some(hash.ok_or_else(|| wrong("40 hexadecimal digits"))?);
            }
            "policy" => wanted.policy = Some(value.into_owned()),
            "text" => wanted.text = Some(value.into_owned()),
            _ => return Err(format!("unknown parameter `{key}`")),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::entry;

    #[test]
    fn a_query_is_read_or_refused() {
        let read = wanted("n=1000&address=198.51.100.7/24&policy=clients&text=a+b").unwrap();
        assert_eq!((read.count, read.address), (1000, "198.51.100.0/24".parse().ok()));
        assert_eq!((read.policy.as_deref(), read.text.as_deref()), (Some("clients"), Some("a b")));
        for (query, reason) in [
            ("n=0", "n: expected 1 to 1000"),
            ("n=1001", "n: expected 1 to 1000"),
            ("address=here", "address: expected an address or a range such as 198.51.100.0/24"),
            ("info_hash=ab", "info_hash: expected 40 hexadecimal digits"),
            ("all=1", "unknown parameter `all`"),
        ] {
            assert_eq!(wanted(query).unwrap_err(), reason, "{query}");
        }
    }

    #[test]
    fn refusals_are_grouped_by_policy_and_text() {
        let entries = [
            entry("192.0.2.1", 1, "clients", "no"),
            entry("192.0.2.2", 1, "jwt", "no"),
            entry("192.0.2.3", 2, "clients", "no"),
            entry("192.0.2.4", 2, "clients", "never"),
        ];
        let entries = entries.map(Arc::new);
        let oldest = entries[0].decision.unix_ms;
        let minutes = Minutes::since(Some(oldest), oldest + 2 * MINUTE);
        let groups = groups(&entries.iter().collect::<Vec<_>>(), minutes);
        assert_eq!(groups[0].minutes, [2, 0, 0]);
        let found: Vec<_> =
            groups.iter().map(|group| (group.decided_by, group.reason, group.count)).collect();
        assert_eq!(found, [("clients", "no", 2), ("clients", "never", 1), ("jwt", "no", 1)]);
        let long = Minutes::since(Some(0), oldest);
        assert_eq!((long.count, long.position(0), long.position(oldest)), (60, None, Some(59)));
        assert_eq!(Minutes::since(None, oldest).count, 1);
        let admitted = |query: &str| {
            let wanted = wanted(query).unwrap();
            entries.iter().filter(|entry| wanted.admits(entry)).count()
        };
        assert_eq!(admitted("address=192.0.2.2/31"), 2);
        assert_eq!(admitted(&("info_hash=".to_owned() + &"02".repeat(20))), 2);
        assert_eq!(admitted("policy=jwt"), 1);
        assert_eq!(admitted("text=NEV"), 1);
    }
}
