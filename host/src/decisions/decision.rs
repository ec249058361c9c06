//! A decision, and how it is shown to those who may see all of it or not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use karuta_bittorrent::{Event, InfoHash, Transport};
use serde::Serialize;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use x509_cert::der::DateTime;

use crate::config::{MaskClient, MaskCredential};
use crate::metrics::{Action, Outcome, TRANSPORTS, Verdict, Would};

/// The longest credential that is kept, in bytes; of a longer one, the beginning. Its hash is of all
/// of it.
const KEPT_CREDENTIAL: usize = 256;
/// The bytes of a peer id that say which client it is.
pub const AGENT: usize = 8;
/// The bits of a masked address.
const MASK: (u8, u8) = (24, 48);

/// What became of a request, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    pub unix_ms: u64,
    pub generation: u64,
    /// From its arrival to the decision.
    pub nanoseconds: u64,
    pub listener: u16,
    pub transport: Transport,
    pub action: Action,
    pub event: Event,
    pub outcome: Outcome,
    pub client: IpAddr,
    /// Of a scrape, the one that was decided.
    pub info_hash: InfoHash,
    /// The beginning of the peer id. A scrape has none.
    pub agent: [u8; AGENT],
    /// The policy that decided, or the limit: one of [`super::LIMITS`].
    pub decided_by: Option<Box<str>>,
    pub reason: Option<Box<str>>,
    pub credential: Option<Box<str>>,
    /// Only if somebody wanted to know when the request came, or if one of them failed.
    pub steps: Vec<Step>,
    pub shadows: Vec<Shadow>,
    pub wanted: Wanted,
}

/// What a policy said.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    pub policy: Box<str>,
    pub said: Verdict,
    pub remembered: bool,
}

/// What a policy in shadow mode would have done.
#[derive(Clone, PartialEq, Debug)]
pub struct Shadow {
    pub policy: Box<str>,
    pub would: Would,
    pub reason: Option<Box<str>>,
}

/// Who wants a decision, beside the rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    pub log: bool,
    /// A bit for each tap.
    pub taps: u8,
}

/// What was in use when a decision was made.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The first 12 digits of the SHA-256 of the configuration.
    pub config: String,
    /// The digests of the policies' components, by name.
    pub digests: BTreeMap<String, String>,
}

/// A decision with what the thread that reads it knows.
#[derive(Clone, Debug)]
pub struct Entry {
    pub decision: Decision,
    id: u128,
    listener: Arc<str>,
    scene: Option<Arc<Scene>>,
    credential_hash: u64,
}

/// Hashes credentials with a key that no file has.
pub struct Key(u64, u64);

/// What is not shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask {
    pub client: MaskClient,
    pub credential: MaskCredential,
}

impl Mask {
    /// For those who may see everything.
    pub const NONE: Self = Self { client: MaskClient::Whole, credential: MaskCredential::Whole };
    /// For those who may not.
    pub const ALL: Self = Self { client: MaskClient::Prefix, credential: MaskCredential::Hash };
}

/// Fields are only ever added. docs/decisions.md explains them.
#[derive(Serialize)]
pub struct Shown<'a> {
    pub time: String,
    pub id: String,
    pub generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<&'a str>,
    pub transport: &'static str,
    pub listener: &'a str,
    pub action: &'static str,
    pub client: String,
    pub info_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    pub microseconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<ShownStep<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<ShownShadow<'a>>,
}

/// What a policy said.
#[derive(Serialize)]
pub struct ShownStep<'a> {
    pub policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<&'a str>,
    pub verdict: &'static str,
    pub remembered: bool,
}

/// What a policy in shadow mode would have done.
#[derive(Serialize)]
pub struct ShownShadow<'a> {
    pub policy: &'a str,
    pub would: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

impl Decision {
    /// Returns whether a policy failed whose word counts.
    pub fn has_error(&self) -> bool {
        self.steps.iter().any(|step| step.said == Verdict::Error)
    }
}

impl Shadow {
    /// Returns whether the client would have been answered otherwise.
    pub fn differs(&self, outcome: Outcome) -> bool {
        differs(self.would, outcome)
    }
}

/// Returns whether an answer would have been another one. What a refused request would have been
/// told beside that, nobody can say.
pub fn differs(would: Would, outcome: Outcome) -> bool {
    match (would, outcome) {
        (Would::Pass, _) => false,
        (_, Outcome::Ok) => true,
        (Would::Reject, Outcome::Dropped) | (Would::Drop, Outcome::Rejected) => true,
        _ => false,
    }
}

impl Key {
    pub fn new() -> Self {
        let (one, other) = rand::random();
        Self(one, other)
    }

    fn hash(&self, text: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(text.as_bytes());
        hasher.finish128().h1
    }
}

impl Entry {
    /// Adds what is known of a decision to it, and shortens what is only shown.
    pub fn new(
        mut decision: Decision,
        key: &Key,
        listener: Arc<str>,
        scene: Option<Arc<Scene>>,
    ) -> Self {
        let credential_hash =
            decision.credential.as_ref().map_or(0, |credential| key.hash(credential));
        if let Some(text) = &mut decision.credential
            && text.len() > KEPT_CREDENTIAL
        {
            let kept = &text[..text.floor_char_boundary(KEPT_CREDENTIAL)];
            *text = format!("{kept}…").into();
        }
        // A ULID: 48 bits of time, and 80 random ones.
        let id = u128::from(decision.unix_ms) << 80 | rand::random::<u128>() >> 48;
        Self { decision, id, listener, scene, credential_hash }
    }

    /// Returns the decision as those see it who may not see what `mask` hides.
    pub fn shown(&self, mask: Mask) -> Shown<'_> {
        let Self { decision, id, listener, scene, credential_hash } = self;
        let scene = scene.as_deref();
        let transport = TRANSPORTS.iter().find(|(known, _)| *known == decision.transport);
        let is_announce = decision.action == Action::Announce;
        let credential = decision.credential.as_ref().and_then(|text| match mask.credential {
            MaskCredential::Whole => Some(text.to_string()),
            MaskCredential::Hash => Some(format!("h:{credential_hash:016x}")),
            MaskCredential::Omit => None,
        });
        let steps = decision.steps.iter().map(|step| ShownStep {
            policy: &step.policy,
            digest: scene.and_then(|scene| scene.digests.get(&*step.policy)).map(String::as_str),
            verdict: step.said.name(),
            remembered: step.remembered,
        });
        let shadows = decision.shadows.iter().map(|shadow| ShownShadow {
            policy: &shadow.policy,
            would: shadow.would.name(),
            reason: shadow.reason.as_deref(),
        });
        Shown {
            time: time(decision.unix_ms),
            id: ulid(*id),
            generation: decision.generation,
            config: scene.map(|scene| scene.config.as_str()),
            transport: transport.map_or("", |(_, name)| name),
            listener,
            action: decision.action.name(),
            client: client(decision.client, mask.client),
            info_hash: decision.info_hash.to_string(),
            event: is_announce.then(|| event(decision.event)),
            agent: is_announce.then(|| agent(&decision.agent)),
            credential,
            outcome: decision.outcome.name(),
            decided_by: decision.decided_by.as_deref(),
            reason: decision.reason.as_deref(),
            microseconds: (decision.nanoseconds as f64 / 100.0).round() / 10.0,
            policies: steps.collect(),
            shadow: shadows.collect(),
        }
    }
}

/// Returns the network that a masked address is shown as.
pub fn prefix(address: IpAddr) -> IpNet {
    let bits = if address.is_ipv4() { MASK.0 } else { MASK.1 };
    // The number of bits fits.
    IpNet::new(address, bits).unwrap_or(IpNet::from(address)).trunc()
}

fn client(address: IpAddr, mask: MaskClient) -> String {
    match mask {
        MaskClient::Whole => address.to_string(),
        MaskClient::Prefix => prefix(address).to_string(),
    }
}

fn event(event: Event) -> &'static str {
    match event {
        Event::None => "none",
        Event::Started => "started",
        Event::Stopped => "stopped",
        Event::Completed => "completed",
        Event::Paused => "paused",
    }
}

/// Returns the beginning of a peer id as text, without the dash that ends it in most of them. Bytes
/// that are not visible ASCII are escaped.
fn agent(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"-").unwrap_or(bytes);
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'!'..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            // Writing into memory does not fail.
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
    }
    text
}

/// Returns a time as in RFC 3339, to the millisecond.
pub fn time(unix_ms: u64) -> String {
    let whole = DateTime::from_unix_duration(Duration::from_secs(unix_ms / 1000));
    let whole = whole.map(|whole| whole.to_string()).unwrap_or_default();
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), unix_ms % 1000)
}

/// Returns an id in Crockford's base 32.
fn ulid(id: u128) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit = |at: u32| char::from(DIGITS[(id >> (5 * at)) as usize % 32]);
    (0..26).rev().map(digit).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns an entry of a client, a torrent, and what was said.
    pub fn entry(client: &str, info_hash: u8, by: &str, reason: &str) -> Entry {
        let decision = Decision {
            unix_ms: 1_764_352_800_123,
            generation: 7,
            nanoseconds: 3149,
            listener: 0,
            transport: Transport::Udp,
            action: Action::Announce,
            event: Event::Started,
            outcome: Outcome::Rejected,
            client: client.parse().unwrap(),
            info_hash: InfoHash([info_hash; 20]),
            agent: *b"-TR4050-",
            decided_by: Some(by.into()),
            reason: Some(reason.into()),
            credential: Some("correct horse".into()),
            steps: Vec::new(),
            shadows: Vec::new(),
            wanted: Wanted::default(),
        };
        Entry::new(decision, &Key(1, 2), "[::]:6969".into(), None)
    }

    fn json(entry: &Entry, mask: Mask) -> serde_json::Value {
        serde_json::to_value(entry.shown(mask)).unwrap()
    }

    #[test]
    fn a_mask_hides_the_client_and_the_credential() {
        let entry = entry("198.51.100.7", 1, "clients", "no");
        let whole = json(&entry, Mask::NONE);
        assert_eq!(whole["client"], "198.51.100.7");
        assert_eq!(whole["credential"], "correct horse");
        assert_eq!(whole["time"], "2025-11-28T18:00:00.123Z");
        assert_eq!((&whole["agent"], &whole["event"]), (&"-TR4050".into(), &"started".into()));
        assert_eq!(whole["microseconds"], 3.1);
        assert_eq!(whole["id"].as_str().unwrap().len(), 26);
        let masked = json(&entry, Mask::ALL);
        assert_eq!(masked["client"], "198.51.100.0/24");
        let hash = masked["credential"].as_str().unwrap();
        assert!(hash.starts_with("h:") && hash.len() == 18, "{hash}");
        assert!(!masked.to_string().contains("horse"));
        let omit = Mask { credential: MaskCredential::Omit, ..Mask::ALL };
        assert_eq!(json(&entry, omit)["credential"], serde_json::Value::Null);
        assert_eq!(prefix("2001:db8:1:2::3".parse().unwrap()).to_string(), "2001:db8:1::/48");
    }

    #[test]
    fn the_same_credential_has_the_same_hash_only_under_the_same_key() {
        let [one, other] = [Key(1, 2), Key(1, 3)];
        assert_eq!(one.hash("a"), one.hash("a"));
        assert_ne!(one.hash("a"), one.hash("b"));
        assert_ne!(one.hash("a"), other.hash("a"));
    }

    #[test]
    fn a_long_credential_is_cut_and_hashed_whole() {
        let with = |text: &str| {
            let mut decision = entry("::1", 1, "a", "b").decision;
            decision.credential = Some(text.into());
            Entry::new(decision, &Key(1, 2), "".into(), None)
        };
        let [one, other] = ["1", "2"].map(|end| with(&("ü".repeat(300) + end)));
        assert_eq!(one.decision.credential, other.decision.credential);
        assert_eq!(one.decision.credential.as_ref().unwrap().len(), KEPT_CREDENTIAL + 3);
        assert_ne!(one.credential_hash, other.credential_hash);
    }

    #[test]
    fn hostile_agents_are_escaped() {
        assert_eq!(agent(b"-\n\x1b[31m\\"), r"-\x0a\x1b[31m\x5c");
        assert_eq!(agent(b"<img on-"), r"<img\x20on");
        assert_eq!(agent(&[0xff; 8]), r"\xff".repeat(8));
    }

    #[test]
    fn only_another_answer_is_a_difference() {
        for (would, outcome, expected) in [
            (Would::Pass, Outcome::Rejected, false),
            (Would::Reject, Outcome::Ok, true),
            (Would::Reject, Outcome::Rejected, false),
            (Would::Drop, Outcome::Rejected, true),
            (Would::Change, Outcome::Ok, true),
            (Would::Change, Outcome::Rejected, false),
            (Would::Error, Outcome::Ok, true),
        ] {
            assert_eq!(differs(would, outcome), expected, "{would:?} {outcome:?}");
        }
    }
}
