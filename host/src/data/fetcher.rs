//! Data sources that are fetched periodically, from URLs and databases, with the last good version
//! cached on disk.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderMap;
use sha2::{Digest, Sha256};

use super::definition::{Definition, Pace, Query, Remote};
use super::source::DataSource;
use super::url::{Found, Url};
use crate::state_dir::{Miss, StateDir};
use crate::time;

/// The pause after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Fetches one source.
pub struct Fetcher {
    from: From,
    pace: Pace,
    kept: Option<Arc<StateDir>>,
    /// The digest of the current data, if this process has fetched it.
    held: Option<[u8; 32]>,
    failures: u32,
    /// When the next fetch is due.
    next: Instant,
    /// Patterns of the reasons that were logged since the last good answer.
    told: HashSet<String>,
}

/// Where the data comes from.
enum From {
    Url(Box<Url>),
    Query(Query),
}

/// Why there is no new data.
enum Failure {
    /// There was no answer, or not the requested data.
    Unfetched(String),
    /// There was an answer, but its data is unusable.
    Refused(String),
}

impl Fetcher {
    pub fn of_url(remote: Remote, kept: Option<Arc<StateDir>>) -> Self {
        let pace = remote.pace;
        Self::new(From::Url(Box::new(Url::new(remote))), pace, kept)
    }

    pub fn of_query(query: Query, kept: Option<Arc<StateDir>>) -> Self {
        let pace = query.pace;
        Self::new(From::Query(query), pace, kept)
    }

    fn new(from: From, pace: Pace, kept: Option<Arc<StateDir>>) -> Self {
        let (failures, next) = (0, Instant::now());
        Self { from, pace, kept, held: None, failures, next, told: HashSet::new() }
    }

    /// Loads the data that an earlier process fetched into the source.
    pub fn take_up(&self, source: &DataSource) {
        let Some(kept) = &self.kept else { return };
        let max_size = source.definition().max_size.saturating_add(STAMP + SEAL);
        let content = match kept.read_sealed(&self.file(source), max_size) {
            Ok(content) => content,
            Err(Miss::Absent) => return,
            Err(Miss::Unfit(reason)) => {
                return self.warn(source, "cannot use cached data; ignoring it", &reason);
            }
        };
        let Some((stamp, bytes)) = content.split_first_chunk() else { return };
        let fetched = UNIX_EPOCH + Duration::from_secs(u64::from_be_bytes(*stamp));
        let age = SystemTime::now().duration_since(fetched).unwrap_or_default();
        if self.pace.max_age.is_some_and(|most| age >= most) {
            return;
        }
        if source.offer(bytes).is_ok() {
            source.renew(age);
            source.mark_kept();
        }
    }

    /// Fetches the source once.
    ///
    /// # Errors
    ///
    /// Why there is no new data, and the current data is not confirmed either.
    pub fn fetch(&mut self, source: &DataSource) -> Result<(), String> {
        let Err(failure) = self.ask(source) else {
            self.failures = 0;
            self.told.clear();
            self.next = Instant::now() + self.pace.every;
            return Ok(());
        };
        let (Failure::Unfetched(reason) | Failure::Refused(reason)) = &failure;
        source.count_error(reason);
        self.failures = self.failures.saturating_add(1);
        self.next = Instant::now() + pause(self.failures, self.pace.every, rand::random());
        // A remote server may be unavailable for days.
        if self.told.len() < MOST_TOLD && self.told.insert(pattern(reason)) {
            match &failure {
                Failure::Refused(reason) => source.log_refusal(reason),
                Failure::Unfetched(reason) => {
                    self.warn(source, "cannot fetch data source; keeping current data", reason)
                }
            }
        }
        Err(reason.clone())
    }

    fn ask(&mut self, source: &DataSource) -> Result<(), Failure> {
        let Definition { format, max_size, .. } = source.definition();
        let found = match &mut self.from {
            From::Url(url) => url.ask(*max_size, source.is_raw()),
            From::Query(query) => query
                .ask(*format, *max_size)
                .map(|text| Found::New { body: text.into_bytes(), validators: HeaderMap::new() }),
        };
        let Found::New { body, validators } = found.map_err(Failure::Unfetched)? else {
            source.renew(Duration::ZERO);
            self.keep(source, None);
            return Ok(());
        };
        let digest = Sha256::digest(&body).into();
        let is_same = self.held == Some(digest) && source.current().is_some();
        if is_same {
            // Not every server supports validators.
            source.renew(Duration::ZERO);
        } else {
            source.take(&body).map_err(Failure::Refused)?;
            self.held = Some(digest);
        }
        if let From::Url(url) = &mut self.from {
            url.validators = validators;
        }
        self.keep(source, (!is_same).then_some(&*body));
        Ok(())
    }

    /// Caches a new version on disk, or updates the time of the cached one.
    fn keep(&self, source: &DataSource, new: Option<&[u8]>) {
        let Some(kept) = &self.kept else { return };
        let name = self.file(source);
        let old = match new {
            Some(_) => None,
            None => kept.read_sealed(&name, u64::MAX).ok(),
        };
        let bytes = new.or_else(|| old.as_ref()?.get(STAMP as usize..));
        let Some(bytes) = bytes else { return };
        let now = time::since_1970().as_secs();
        let content = [&now.to_be_bytes(), bytes].concat();
        if let Err(error) = kept.write_sealed(&name, &content) {
            self.warn(source, "cannot cache data on disk", &error.to_string());
        }
    }

    /// Returns the name of the cache file, which depends on the URL or the query, and on the format.
    fn file(&self, source: &DataSource) -> String {
        let what = match &self.from {
            From::Url(url) => url.remote.url.as_str(),
            From::Query(query) => &query.sql,
        };
        let sum = Sha256::new().chain_update(source.definition().format.name()).chain_update(":");
        let sum = sum.chain_update(what).finalize();
        hex::encode(sum) + ".data"
    }

    /// Fetches the source periodically while it is in use.
    pub fn work(mut self, source: &Weak<DataSource>, woken: &Receiver<()>) {
        loop {
            let Some(held) = source.upgrade() else { return };
            let expires = self.expires(&held);
            if expires == Some(Duration::ZERO) {
                self.warn(&held, "data has expired; data source is empty", "older than `max_age`");
                held.forget();
                if let From::Url(url) = &mut self.from {
                    url.validators.clear();
                }
                continue;
            }
            held.set_next(self.next);
            drop(held);
            let wait = self.next.saturating_duration_since(Instant::now());
            let expiry_first = expires.filter(|expires| *expires < wait);
            match woken.recv_timeout(expiry_first.unwrap_or(wait)) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if expiry_first.is_some() => continue,
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            }
            let Some(source) = source.upgrade() else { return };
            let _ = self.fetch(&source);
        }
    }

    /// Returns the time until the current data expires.
    fn expires(&self, source: &DataSource) -> Option<Duration> {
        Some(self.pace.max_age?.saturating_sub(source.age()?))
    }

    fn warn(&self, source: &DataSource, what: &str, reason: &str) {
        let definition = source.definition();
        tracing::warn!(policy = %definition.policy, data = %definition.name, reason, "{what}");
    }
}

/// How many distinct reasons are logged in one outage.
const MOST_TOLD: usize = 16;

/// Removes what may vary from answer to answer: numbers, URLs and quoted parts.
fn pattern(reason: &str) -> String {
    let unquoted: String = reason.split('`').step_by(2).collect();
    let words = unquoted.split_whitespace().filter(|word| !word.contains("://"));
    words.flat_map(|word| word.chars().chain([' '])).filter(|c| !c.is_ascii_digit()).collect()
}

/// The size of the head of a cached file in bytes: the Unix time of the fetch.
const STAMP: u64 = 8;
/// The size of a seal in bytes.
const SEAL: u64 = 32;

/// Returns how long to wait after this many consecutive failures; `dice` spreads clients that
/// failed together over the second half of the pause.
fn pause(failures: u32, every: Duration, dice: u16) -> Duration {
    let longest = LONGEST_PAUSE.min(every);
    let pause = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest);
    pause / 2 + pause / 2 * u32::from(dice) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_spread() {
        let most = |failures, every| pause(failures, Duration::from_secs(every), u16::MAX);
        let seconds = |n| Duration::from_secs(n);
        assert_eq!([1, 2, 3, 4, 5].map(|n| most(n, 300)), [1, 2, 4, 8, 16].map(seconds));
        assert_eq!([6, 7, 1000, u32::MAX].map(|n| most(n, 300)), [30; 4].map(seconds));
        assert_eq!(most(9, 5), seconds(5), "never more than `every`");
        assert_eq!(pause(6, seconds(300), 0), seconds(15));
    }

    #[test]
    fn a_reason_is_known_again_whatever_stands_in_it() {
        let same = |one: &str, other: &str| pattern(one) == pattern(other);
        assert!(same("line 2: `nonsense`, expected UTF-8", "line 31: `other`, expected UTF-8"));
        assert!(same(
            "https://a/x?1 redirects to http://b/7f3",
            "https://a/x redirects to http://c"
        ));
        assert!(!same("https://a answers 500 Oops", "https://a answers 502 Bad Gateway"));
        assert!(!same("line 2: `a`, expected UTF-8", "line 2: `a`, expected an address"));
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_leaves_out_numbers_quotes_and_urls(number: u64, quoted in "[^`]{0,20}", path in "[a-z/]{0,9}") {
            let reason = format!("line {number}: `{quoted}` of https://a/{path}, expected a list");
            let pattern = pattern(&reason);
            let same = "line : of expected a list";
            proptest::prop_assert_eq!(pattern.split_whitespace().collect::<Vec<_>>().join(" "), same);
        }
    }
}
