//! Data sources that are fetched over HTTP periodically, with the last good version cached on disk.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use hyper::{Method, StatusCode};
use sha2::{Digest, Sha256};

use super::definition::Remote;
use super::source::DataSource;
use crate::fetch::{Client, Protected, Request, Shown};
use crate::state_dir::{Miss, StateDir};
use crate::text::Escaped;
use crate::time;

/// The pause after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Fetches one source.
pub struct Fetcher {
    remote: Remote,
    client: Client,
    kept: Option<Arc<StateDir>>,
    /// Conditional request headers, so that the server need not send unchanged data.
    validators: HeaderMap,
    /// The digest of the current data, if this process has fetched it.
    held: Option<[u8; 32]>,
    failures: u32,
    /// When the next fetch is due.
    next: Instant,
    /// Patterns of the reasons that were logged since the last good answer.
    told: HashSet<String>,
}

/// Why there is no new data.
enum Failure {
    /// There was no answer, or not the requested data.
    Unfetched(String),
    /// There was an answer, but its data is unusable.
    Refused(String),
}

impl Fetcher {
    pub fn new(remote: Remote, kept: Option<Arc<StateDir>>) -> Self {
        let client = Client::new(Protected { insecure: remote.insecure });
        let (validators, failures, next) = (HeaderMap::new(), 0, Instant::now());
        let told = HashSet::new();
        Self { remote, client, kept, validators, held: None, failures, next, told }
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
        if self.remote.max_age.is_some_and(|most| age >= most) {
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
            self.next = Instant::now() + self.remote.every;
            return Ok(());
        };
        let (Failure::Unfetched(reason) | Failure::Refused(reason)) = &failure;
        source.count_error(reason);
        self.failures = self.failures.saturating_add(1);
        self.next = Instant::now() + pause(self.failures, self.remote.every, rand::random());
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
        let mut headers = self.validators.clone();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in &self.remote.headers {
            // Both were checked with the configuration.
            if let (Ok(name), Ok(mut value)) =
                (HeaderName::try_from(name), HeaderValue::from_bytes(value.expose()))
            {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let request = Request {
            method: Method::GET,
            url: &self.remote.url,
            headers,
            body: &[],
            timeout: self.remote.timeout,
            max_size: source.definition().max_size,
        };
        let answer = self.client.fetch(request).map_err(Failure::Unfetched)?;
        let answers = |what: String| {
            Err(Failure::Unfetched(format!("{} answers {what}", Shown(&self.remote.url))))
        };
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if !self.validators.is_empty() => {
                source.renew(Duration::ZERO);
                self.keep(source, None);
                return Ok(());
            }
            status => return answers(status.to_string()),
        }
        if let Some(other) = foreign(&answer.headers, source.is_raw()) {
            return answers(other);
        }
        // Drops the old validators, so that unusable data is never confirmed.
        self.validators.clear();
        let digest = Sha256::digest(&answer.body).into();
        let is_same = self.held == Some(digest) && source.current().is_some();
        if is_same {
            // Not every server supports validators.
            source.renew(Duration::ZERO);
        } else {
            source.take(&answer.body).map_err(Failure::Refused)?;
            self.held = Some(digest);
        }
        for (ours, theirs) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
            if let Some(value) = answer.headers.get(theirs) {
                self.validators.insert(ours, value.clone());
            }
        }
        self.keep(source, (!is_same).then_some(&*answer.body));
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

    /// Returns the name of the cache file, which depends on the URL and the format.
    fn file(&self, source: &DataSource) -> String {
        let sum = Sha256::new().chain_update(source.definition().format.name()).chain_update(":");
        let sum = sum.chain_update(self.remote.url.as_str()).finalize();
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
                self.validators.clear();
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
        Some(self.remote.max_age?.saturating_sub(source.age()?))
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

/// Describes an answer that is not the requested data. Proxies, login pages and failed servers also
/// answer with 200.
fn foreign(headers: &HeaderMap, is_raw: bool) -> Option<String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    for encoding in headers.get_all(CONTENT_ENCODING).iter().map(text) {
        if !matches!(encoding.trim(), "" | "identity") {
            return Some(format!(
                "with the content encoding `{}`, which was not asked for",
                Escaped(&encoding)
            ));
        }
    }
    let kind = headers.get(CONTENT_TYPE).map(text)?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_page = matches!(kind, "text/html" | "application/xhtml+xml");
    let families = ["image/", "audio/", "video/", "font/", "multipart/"];
    let is_no_text = families.iter().any(|family| kind.starts_with(family));
    (is_page || (is_no_text && !is_raw))
        .then(|| format!("with the type `{}`, expected data", Escaped(kind)))
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

    #[test]
    fn an_answer_of_another_kind_is_named() {
        let foreign = |name: HeaderName, value: &'static str, is_raw| {
            foreign(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]), is_raw)
        };
        for value in ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml"] {
            let said = foreign(CONTENT_TYPE, value, true).unwrap();
            assert!(said.ends_with("`, expected data"), "{said}");
        }
        assert!(foreign(CONTENT_TYPE, "image/png", false).is_some());
        assert_eq!(foreign(CONTENT_TYPE, "image/png", true), None);
        for value in ["text/plain", "application/octet-stream", "application/json", "", "?"] {
            assert_eq!(foreign(CONTENT_TYPE, value, false), None, "{value}");
        }
        for value in ["gzip", "identity, br", "GZIP"] {
            assert!(foreign(CONTENT_ENCODING, value, true).is_some(), "{value}");
        }
        assert_eq!(foreign(CONTENT_ENCODING, "Identity", true), None);
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
