//! Remembered verdicts (`response.remember`).
//!
//! Each policy has a cache in each worker. A keyed hash finds an entry, and the scoped values are
//! then compared in full, so that no client can get another client's verdict.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use karuta_bittorrent::mapped;

use crate::exchange::{Draft, Request};
use crate::metrics::Hook;
use crate::policy::contract::Verdict;
use crate::policy::contract::bindings::imports::response::Scope;
use crate::policy::shared::outcome::LONGEST_CREDENTIAL;

/// The most bytes of keys and changes that one policy of one worker may keep.
const ROOM: usize = 4 * 1024 * 1024;
/// The most different scopes that one policy may use.
const SCOPES: usize = 4;
/// The size of an entry without its key and its texts, in bytes.
const ENTRY: usize = 256;

/// The remembered verdicts of one policy.
#[derive(Default)]
pub struct VerdictCache {
    /// The scopes in use, each with its hook.
    scopes: Vec<(Hook, Scope)>,
    /// The newer and the older half of the entries. The older one is dropped when the newer one is
    /// full.
    young: HashTable<Entry>,
    old: HashTable<Entry>,
    bytes: usize,
    hasher: RandomState,
    /// The scoped values of the current request.
    values: Vec<u8>,
}

/// A verdict, with its changes.
pub struct Entry {
    pub verdict: Verdict,
    /// `None`: no changes. Boxed, so that an entry is small and needs few cache lines.
    pub draft: Option<Box<Draft>>,
    until: Instant,
    hash: u64,
    key: Box<[u8]>,
}

/// The scoped values of a request. The credential, which may be long, is compared in place.
struct Key<'a> {
    values: &'a [u8],
    credential: &'a [u8],
}

impl VerdictCache {
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Returns the remembered verdict for a request, if there is one.
    pub fn find<'a>(
        &'a mut self,
        hook: Hook,
        request: &Request,
        credential: &str,
        now: Instant,
    ) -> Option<&'a Entry> {
        let Self { scopes, young, old, hasher, values, .. } = self;
        let live = |entry: &&Entry| entry.until > now;
        for (of, scope) in scopes {
            if *of != hook {
                continue;
            }
            let Some(key) = Key::of(values, hook, *scope, request, credential) else { continue };
            let hash = key.hash(hasher);
            let find = |table: &'a HashTable<Entry>| table.find(hash, |entry| entry.is(&key));
            if let Some(found) = find(young).or_else(|| find(old)).filter(live) {
                return Some(found);
            }
        }
        None
    }

    /// Remembers a verdict for every request that is equal to this one in `scope`.
    pub fn keep(
        &mut self,
        hook: Hook,
        wish: (Scope, Duration),
        request: &Request,
        credential: &str,
        decision: (Verdict, Draft),
        now: Instant,
    ) {
        let (scope, duration) = wish;
        let (verdict, draft) = decision;
        if scope == Scope::empty() || duration.is_zero() {
            return;
        }
        if !self.scopes.contains(&(hook, scope)) {
            if self.scopes.len() >= SCOPES {
                return;
            }
            self.scopes.push((hook, scope));
        }
        let Self { young, old, bytes, hasher, values, .. } = self;
        let Some(key) = Key::of(values, hook, scope, request, credential) else { return };
        let size = ENTRY + key.len() + draft.bytes();
        if *bytes + size > ROOM / 2 {
            *old = std::mem::take(young);
            *bytes = 0;
        }
        *bytes += size;
        // A verdict is remembered for a day at most.
        let until = now + duration.min(Duration::from_secs(86_400));
        let draft = draft.any.then(|| Box::new(draft));
        let hash = key.hash(hasher);
        match young.find_mut(hash, |entry| entry.is(&key)) {
            Some(known) => {
                known.verdict = verdict;
                known.draft = draft;
                known.until = until;
            }
            None => {
                let key = [key.values, key.credential].concat().into();
                let entry = Entry { verdict, draft, until, hash, key };
                young.insert_unique(hash, entry, |entry| entry.hash);
            }
        }
    }
}

impl Entry {
    fn is(&self, key: &Key) -> bool {
        self.key.split_at_checked(key.values.len()) == Some((key.values, key.credential))
    }
}

impl<'a> Key<'a> {
    /// Returns `None` if the request cannot be remembered by that scope.
    fn of(
        values: &'a mut Vec<u8>,
        hook: Hook,
        scope: Scope,
        request: &Request,
        credential: &'a str,
    ) -> Option<Self> {
        write_values(values, hook, scope, request);
        let credential = match scope.contains(Scope::CREDENTIAL) {
            true if credential.len() > LONGEST_CREDENTIAL => return None,
            true => credential.as_bytes(),
            false => &[],
        };
        Some(Self { values, credential })
    }

    fn len(&self) -> usize {
        self.values.len() + self.credential.len()
    }

    fn hash(&self, hasher: &RandomState) -> u64 {
        let mut hasher = hasher.build_hasher();
        hasher.write(self.values);
        hasher.write(self.credential);
        hasher.finish()
    }
}

/// Writes the scoped values without the credential. The scope comes first, so that values of
/// different scopes are never equal.
fn write_values(values: &mut Vec<u8>, hook: Hook, scope: Scope, request: &Request) {
    let announce = &request.announce;
    values.clear();
    values.extend([hook as u32, scope.as_array()[0]].map(u32::to_ne_bytes).as_flattened());
    if scope.contains(Scope::INFO_HASH) {
        values.extend(announce.info_hash.0);
    }
    if scope.contains(Scope::ADDRESS) {
        // The client's address may differ from the announced one, and a policy may look at either.
        values.extend(mapped(request.address).octets());
        values.extend(mapped(request.client).octets());
    }
    if scope.contains(Scope::CLIENT) {
        values.extend(&announce.peer_id.0[..8]);
    }
    if scope.contains(Scope::EVENT) {
        values.push(announce.event as u8);
    }
    if scope.contains(Scope::TRANSPORT) {
        values.push(request.transport as u8);
    }
    if scope.contains(Scope::PEER_ID) {
        values.extend(announce.peer_id.0);
    }
    if scope.contains(Scope::PORT) {
        values.extend(announce.port.to_be_bytes());
    }
    if scope.contains(Scope::ROLE) {
        values.push(announce.is_seeder().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Exchange;
    use karuta_bittorrent::{Event, InfoHash};

    const MINUTE: Duration = Duration::from_secs(60);

    fn request(info_hash: u8, event: Event) -> Request {
        let mut request = Exchange::default().request;
        request.announce.info_hash = InfoHash([info_hash; 20]);
        request.announce.event = event;
        request
    }

    #[test]
    fn a_verdict_holds_within_its_scope_and_time() {
        let now = Instant::now();
        let mut remembered = VerdictCache::default();
        let asked = request(1, Event::Started);
        let scope = Scope::INFO_HASH | Scope::EVENT;
        let wish = (scope, MINUTE);
        let decision = (Verdict::Reject, Draft::default());
        remembered.keep(Hook::Announce, wish, &asked, "", decision, now);
        let mut ask = |hook, request: &Request, at| {
            remembered.find(hook, request, "", at).map(|entry| entry.verdict)
        };
        assert_eq!(ask(Hook::Announce, &asked, now), Some(Verdict::Reject));
        assert_eq!(ask(Hook::Announce, &request(2, Event::Started), now), None);
        assert_eq!(ask(Hook::Announce, &request(1, Event::None), now), None);
        assert_eq!(ask(Hook::Scrape, &asked, now), None);
        assert_eq!(ask(Hook::Announce, &asked, now + MINUTE), None);
        let mut elsewhere = request(1, Event::Started);
        elsewhere.announce.port = 9;
        assert_eq!(ask(Hook::Announce, &elsewhere, now), Some(Verdict::Reject), "not in scope");
    }

    #[test]
    fn credentials_are_compared_whole() {
        let now = Instant::now();
        let mut remembered = VerdictCache::default();
        let asked = request(1, Event::None);
        let wish = (Scope::CREDENTIAL, MINUTE);
        let long = "x".repeat(LONGEST_CREDENTIAL + 1);
        for kept in ["good", &long] {
            let decision = (Verdict::Next, Draft::default());
            remembered.keep(Hook::Announce, wish, &asked, kept, decision, now);
        }
        let mut ask = |text: &str| remembered.find(Hook::Announce, &asked, text, now).is_some();
        assert!(ask("good"));
        assert!(!ask("goo"));
        assert!(!ask(""));
        assert!(!ask(&long), "too long to be remembered");
        assert!(remembered.find(Hook::Announce, &asked, "", now).is_none());
    }

    #[test]
    fn an_empty_scope_or_no_time_is_ignored() {
        let now = Instant::now();
        let mut remembered = VerdictCache::default();
        let asked = request(1, Event::None);
        for wish in [(Scope::empty(), MINUTE), (Scope::INFO_HASH, Duration::ZERO)] {
            let decision = (Verdict::Next, Draft::default());
            remembered.keep(Hook::Announce, wish, &asked, "", decision, now);
        }
        assert!(remembered.is_empty());
    }

    #[test]
    fn room_is_bounded_and_the_newest_stay() {
        let now = Instant::now();
        let mut remembered = VerdictCache::default();
        let wish = (Scope::INFO_HASH, MINUTE);
        let numbered = |n: u32| {
            let mut request = request(0, Event::None);
            request.announce.info_hash.0[..4].copy_from_slice(&n.to_be_bytes());
            request
        };
        let many = 100_000;
        for n in 0..many {
            let decision = (Verdict::Next, Draft::default());
            remembered.keep(Hook::Announce, wish, &numbered(n), "", decision, now);
        }
        let held = remembered.young.len() + remembered.old.len();
        assert!(held * ENTRY <= ROOM, "{held} entries");
        assert!(remembered.find(Hook::Announce, &numbered(many - 1), "", now).is_some());
        assert!(remembered.find(Hook::Announce, &numbered(0), "", now).is_none());
    }
}
