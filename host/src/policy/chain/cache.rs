//! Remembered verdicts (`response.remember`).
//!
//! Each policy has a cache in each worker: a table of cache lines. A keyed hash says where an entry
//! may be, and the scoped values are then compared in full, so that no client can get another
//! client's verdict. A verdict without changes and with a key of up to [`INLINE`] bytes is in one
//! line.

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use karuta_bittorrent::mapped;

use crate::exchange::{Account, Asked, Draft, Request};
use crate::metrics::Hook;
use crate::policy::contract::Verdict;
use crate::policy::contract::bindings::imports::response::Scope;
use crate::policy::shared::outcome::LONGEST_CREDENTIAL;

/// The most bytes that one policy of one worker may keep beside its lines.
const ROOM: usize = 2 * 1024 * 1024;
/// The fewest and the most homes of entries, which are powers of two. A line takes 64 bytes.
const HOMES: [usize; 2] = [64, 32_768];
/// How many lines from its home on an entry may be.
const REACH: usize = 16;
/// The most different scopes that one policy may use.
const SCOPES: usize = 4;
/// The bytes of a key that are in its entry's line.
const INLINE: usize = 45;

/// The remembered verdicts of one policy.
pub struct VerdictCache {
    /// The scopes in use, each with its hook.
    scopes: Vec<(Hook, Scope, Asked)>,
    /// An entry is within reach of its home, before the first vacant line.
    lines: Vec<Option<Entry>>,
    filled: usize,
    /// The bytes beside the lines.
    bytes: usize,
    hasher: RandomState,
    /// The key of the current request.
    key: Vec<u8>,
    /// The start of its clock.
    start: Instant,
}

/// A remembered verdict.
#[repr(align(64))]
struct Entry {
    /// In microseconds of the cache's clock.
    until: u64,
    /// `None`: no changes, and a key of up to [`INLINE`] bytes.
    more: Option<Box<More>>,
    key_len: u16,
    key: [u8; INLINE],
    verdict: Verdict,
}

const _: () = assert!(size_of::<Option<Entry>>() == 64);

struct More {
    draft: Draft,
    /// The rest of the key.
    key: Box<[u8]>,
}

impl Default for VerdictCache {
    fn default() -> Self {
        Self {
            scopes: Vec::new(),
            lines: Vec::new(),
            filled: 0,
            bytes: 0,
            hasher: RandomState::default(),
            key: Vec::new(),
            start: Instant::now(),
        }
    }
}

impl VerdictCache {
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Fetches the line where a request's verdict should be into the processor's caches.
    pub fn fetch(&mut self, hook: Hook, request: &Request, credential: &str) {
        let Self { scopes, lines, hasher, key, .. } = self;
        let Some(scope) = scopes.iter().find(|(of, ..)| *of == hook) else { return };
        if write_key(key, *scope, request, credential)
            && let Some(line) = lines.get(home(lines.len(), hasher.hash_one(&*key)))
        {
            karuta_fetch::line(line);
        }
    }

    /// Returns the remembered verdict for a request and its changes, if there is one.
    pub fn find(
        &mut self,
        hook: Hook,
        request: &Request,
        credential: &str,
        now: Instant,
    ) -> Option<(Verdict, Option<&Draft>)> {
        let Self { scopes, lines, hasher, key, start, .. } = self;
        let now = micros(now.saturating_duration_since(*start));
        for scope in scopes {
            if scope.0 != hook || !write_key(key, *scope, request, credential) {
                continue;
            }
            let home = home(lines.len(), hasher.hash_one(&*key));
            let reach = lines.get(home..home + REACH).unwrap_or_default();
            let mut known = reach.iter().map_while(Option::as_ref);
            let found = known.find(|entry| entry.is(key)).filter(|entry| entry.until > now);
            if let Some(Entry { verdict, more, .. }) = found {
                let draft = more.as_ref().map(|more| &more.draft);
                return Some((*verdict, draft.filter(|draft| draft.any)));
            }
        }
        None
    }

    /// Remembers a verdict for every request that is equal to this one in `scope`.
    pub fn keep(
        &mut self,
        hook: Hook,
        wish: (Scope, Duration, Asked),
        request: &Request,
        credential: &str,
        (verdict, draft): (Verdict, &Draft),
        now: Instant,
    ) {
        let (scope, duration, asked) = wish;
        if scope == Scope::empty() || duration.is_zero() {
            return;
        }
        let scope = (hook, scope, asked);
        if !self.scopes.contains(&scope) {
            if self.scopes.len() >= SCOPES {
                return;
            }
            self.scopes.push(scope);
        }
        if !write_key(&mut self.key, scope, request, credential) {
            return;
        }
        // A verdict is remembered for a day at most.
        let until = now + duration.min(Duration::from_secs(86_400));
        let until = micros(until.saturating_duration_since(self.start));
        let entry = Entry::new(&self.key, verdict, draft, until);
        let hash = self.hasher.hash_one(&self.key);
        if self.bytes + entry.bytes() > ROOM {
            self.lines.clear();
            (self.filled, self.bytes) = (0, 0);
        }
        if 2 * self.filled >= self.homes() {
            self.grow(micros(now.saturating_duration_since(self.start)));
        }
        self.put(hash, entry);
    }

    fn homes(&self) -> usize {
        (self.lines.len() + 1).saturating_sub(REACH)
    }

    /// Doubles the table, up to its maximum, and drops what is not valid any more.
    fn grow(&mut self, now: u64) {
        let [fewest, most] = HOMES;
        let homes = (2 * self.homes()).max(fewest);
        if homes > most {
            return;
        }
        let mut lines = Vec::new();
        lines.resize_with(homes + REACH - 1, || None);
        let before = std::mem::replace(&mut self.lines, lines);
        (self.filled, self.bytes) = (0, 0);
        for entry in before.into_iter().flatten().filter(|entry| entry.until > now) {
            self.put(self.hasher.hash_one(entry.parts().concat()), entry);
        }
    }

    /// Puts an entry in place of the one with its key, or into a vacant line, or else in place of the
    /// one within reach that ends first.
    fn put(&mut self, hash: u64, entry: Entry) {
        let home = home(self.lines.len(), hash);
        let Some(reach) = self.lines.get_mut(home..home + REACH) else { return };
        let same =
            |line: &Option<Entry>| line.as_ref().is_none_or(|known| known.parts() == entry.parts());
        let first = || (0..REACH).min_by_key(|&at| reach[at].as_ref().map(|known| known.until));
        let Some(at) = reach.iter().position(same).or_else(first) else { return };
        self.bytes += entry.bytes();
        match reach[at].replace(entry) {
            Some(old) => self.bytes -= old.bytes(),
            None => self.filled += 1,
        }
    }
}

impl Entry {
    fn new(key: &[u8], verdict: Verdict, draft: &Draft, until: u64) -> Self {
        let (here, rest) = key.split_at(key.len().min(INLINE));
        let mut inline = [0; INLINE];
        inline[..here.len()].copy_from_slice(here);
        let more = (draft.any || !rest.is_empty())
            .then(|| Box::new(More { draft: draft.clone(), key: rest.into() }));
        // A key is the scoped values and a credential of up to 4 KiB.
        Self { until, more, key_len: key.len() as u16, key: inline, verdict }
    }

    /// Returns both parts of its key.
    fn parts(&self) -> [&[u8]; 2] {
        let here = &self.key[..usize::from(self.key_len).min(INLINE)];
        [here, self.more.as_ref().map_or(&[], |more| &more.key)]
    }

    fn is(&self, key: &[u8]) -> bool {
        let [here, rest] = self.parts();
        key.len() == usize::from(self.key_len) && key.starts_with(here) && key.ends_with(rest)
    }

    /// Returns the bytes beside its line.
    fn bytes(&self) -> usize {
        let bytes = |more: &More| size_of::<More>() + more.key.len() + more.draft.bytes();
        self.more.as_deref().map_or(0, bytes)
    }
}

/// Returns the place of a key's home in a table of so many lines.
fn home(lines: usize, hash: u64) -> usize {
    let homes = (lines + 1).saturating_sub(REACH);
    hash as usize & homes.saturating_sub(1)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Writes the scoped values of a request. Returns `false` if it cannot be remembered by that scope.
fn write_key(
    key: &mut Vec<u8>,
    (hook, scope, asked): (Hook, Scope, Asked),
    request: &Request,
    credential: &str,
) -> bool {
    write_values(key, hook, scope, request);
    write_account(key, asked, &request.account);
    if scope.contains(Scope::CREDENTIAL) {
        if credential.len() > LONGEST_CREDENTIAL {
            return false;
        }
        key.extend_from_slice(credential.as_bytes());
    }
    true
}

/// Writes the versions of what a policy has looked at, so that a change of it forgets the verdicts that
/// depend on it, and no others. They are distinct for distinct `asked`, in one order.
fn write_account(values: &mut Vec<u8>, asked: Asked, account: &Account) {
    values.push(u8::from(asked.member) | u8::from(asked.torrent) << 1);
    if asked.member {
        let (id, version) = account.member.map_or((0, 0), |(id, member)| (id, member.version));
        values.extend(id.to_ne_bytes());
        values.extend(version.to_ne_bytes());
    }
    if asked.torrent {
        let (id, version) = account.torrent.map_or((0, 0), |(id, torrent)| (id, torrent.version));
        values.extend(id.to_ne_bytes());
        values.extend(version.to_ne_bytes());
        values.push(account.has_token.into());
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
    use karuta_accounts::Member;
    use karuta_bittorrent::{Event, InfoHash};

    const MINUTE: Duration = Duration::from_secs(60);
    const NOTHING: Asked = Asked { member: false, torrent: false };

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
        let wish = (scope, MINUTE, NOTHING);
        let none = Draft::default();
        remembered.keep(Hook::Announce, wish, &asked, "", (Verdict::Reject, &none), now);
        let mut ask = |hook, request: &Request, at| {
            remembered.find(hook, request, "", at).map(|(verdict, _)| verdict)
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
        let wish = (Scope::CREDENTIAL, MINUTE, NOTHING);
        let long = "x".repeat(LONGEST_CREDENTIAL + 1);
        for kept in ["good", &long] {
            let decision = (Verdict::Next, &Draft::default());
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
    fn a_change_of_a_member_forgets_its_verdicts_and_no_others() {
        let now = Instant::now();
        let mut remembered = VerdictCache::default();
        let of = |id: u64, version: u32| {
            let mut request = request(1, Event::None);
            let member = Member { version, ..Member::default() };
            request.account.member = Some((id, member));
            request
        };
        let asked = Asked { member: true, torrent: false };
        let wish = (Scope::EVENT, MINUTE, asked);
        for id in [1, 2] {
            let decision = (Verdict::Reject, &Draft::default());
            remembered.keep(Hook::Announce, wish, &of(id, 5), "", decision, now);
        }
        let mut is_known =
            |request: &Request| remembered.find(Hook::Announce, request, "", now).is_some();
        assert!(is_known(&of(1, 5)) && is_known(&of(2, 5)));
        assert!(!is_known(&of(1, 6)), "it has changed");
        assert!(!is_known(&of(3, 5)) && !is_known(&request(1, Event::None)));
    }

    #[test]
    fn an_empty_scope_or_no_time_is_ignored() {
        let now = Instant::now();
        let mut remembered = VerdictCache::default();
        let asked = request(1, Event::None);
        for wish in [(Scope::empty(), MINUTE, NOTHING), (Scope::INFO_HASH, Duration::ZERO, NOTHING)]
        {
            let decision = (Verdict::Next, &Draft::default());
            remembered.keep(Hook::Announce, wish, &asked, "", decision, now);
        }
        assert!(remembered.is_empty());
    }

    #[test]
    fn room_is_bounded_and_the_newest_stay() {
        let now = Instant::now();
        let mut remembered = VerdictCache::default();
        let wish = (Scope::INFO_HASH, MINUTE, NOTHING);
        let numbered = |n: u32| {
            let mut request = request(0, Event::None);
            request.announce.info_hash.0[..4].copy_from_slice(&n.to_be_bytes());
            request
        };
        let many = 100_000;
        for n in 0..many {
            let at = now + Duration::from_micros(u64::from(n) * 100);
            let decision = (Verdict::Next, &Draft::default());
            remembered.keep(Hook::Announce, wish, &numbered(n), "", decision, at);
        }
        assert_eq!(remembered.homes(), HOMES[1]);
        assert_eq!(remembered.bytes, 0, "short keys and no changes");
        let at = now + Duration::from_secs(10);
        let mut is_known = |n| remembered.find(Hook::Announce, &numbered(n), "", at).is_some();
        assert!(is_known(many - 1));
        let newest = (many - 10_000..many).filter(|&n| is_known(n)).count();
        assert!(newest > 9_900, "{newest}");
        let oldest = (0..10_000).filter(|&n| is_known(n)).count();
        assert!(oldest < 1_000, "{oldest}");
    }

    #[test]
    fn long_keys_and_changes_are_bounded_too() {
        let now = Instant::now();
        let mut remembered = VerdictCache::default();
        let wish = (Scope::CREDENTIAL, MINUTE, NOTHING);
        let asked = request(1, Event::None);
        let long = |n: usize| format!("{n:04000}");
        let draft = |n: usize| {
            let mut draft = Draft { any: true, ..Draft::default() };
            draft.extras.make().warning = Some(n.to_string());
            draft
        };
        for n in 0..1_000 {
            let decision = (Verdict::Next, &draft(n));
            remembered.keep(Hook::Announce, wish, &asked, &long(n), decision, now);
            assert!(remembered.bytes <= ROOM);
        }
        let found = remembered.find(Hook::Announce, &asked, &long(999), now).unwrap();
        assert_eq!(found.1.unwrap().extras.read().warning.as_deref(), Some("999"));
        assert!(remembered.find(Hook::Announce, &asked, &long(0), now).is_none());
    }

    #[test]
    fn all_that_fits_is_found_again() {
        let now = Instant::now();
        for len in [1, INLINE - 9, INLINE - 8, 2 * INLINE] {
            let mut remembered = VerdictCache::default();
            let wish = (Scope::CREDENTIAL, MINUTE, NOTHING);
            let asked = request(1, Event::None);
            let text = |n: usize| format!("{n:0len$}");
            for n in 0..2_000 {
                // The second time is another verdict in place of the first.
                for verdict in [Verdict::Reject, Verdict::Accept] {
                    let decision = (verdict, &Draft::default());
                    remembered.keep(Hook::Announce, wish, &asked, &text(n), decision, now);
                }
            }
            let mut found = 0;
            for n in 0..2_000 {
                let known = remembered.find(Hook::Announce, &asked, &text(n), now);
                assert!(known.is_none_or(|(verdict, _)| verdict == Verdict::Accept));
                found += usize::from(known.is_some());
            }
            assert!(found >= 1_990, "{found} of length {len}");
        }
    }
}
