//! Sends the log of decisions to a URL: in batches, through a spool on disk, so that what cannot be
//! sent now is sent later.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use url::Url;

use super::spool::Spool;
use crate::config::Secret;
use crate::fetch::{Client, Protected, Request, Shown};
use crate::log::{self, Output};
use crate::metrics::{Lost, Metrics};
use crate::state_dir::StateDir;
use crate::text::Escaped;

/// The most bytes that wait on disk.
const SPOOL: u64 = 64 << 20;
/// When a batch is closed: at this size in bytes, or at this age.
const BATCH: usize = 512 * 1024;
const AGE: Duration = Duration::from_secs(1);
/// For a whole request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer, which nobody reads.
const ANSWER: u64 = 64 * 1024;
/// The pause after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Puts lines into the spool.
pub struct Upload {
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
    batch: Vec<u8>,
    /// When the batch was begun.
    since: Instant,
    /// Whether it has been said that the spool loses lines.
    told: bool,
}

/// Sends what is in the spool.
struct Sender {
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
    client: Client,
    url: Url,
    headers: HeaderMap,
    /// Since the last success.
    failures: u32,
}

/// What became of a batch.
enum Sent {
    Taken,
    /// The server will never take it.
    Refused(String),
    /// It may be sent again.
    Failed(String),
}

impl Upload {
    /// Opens the spool, and starts the thread that sends.
    ///
    /// # Errors
    ///
    /// There is no state folder, or there can be no thread.
    pub fn start(
        url: &Url,
        headers: &BTreeMap<String, Secret>,
        insecure: bool,
        state: &StateDir,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let spool = Arc::new(Spool::open(state, SPOOL)?);
        let mut sender = Sender {
            spool: spool.clone(),
            metrics: metrics.clone(),
            client: Client::new(Protected { insecure }),
            url: url.clone(),
            headers: all_headers(headers),
            failures: 0,
        };
        let work = move || loop {
            sender.send();
        };
        thread::Builder::new().name("decision-upload".into()).spawn(work)?;
        Ok(Self { spool, metrics, batch: Vec::new(), since: Instant::now(), told: false })
    }

    /// Closes the batch.
    fn close(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let lines = log::count(&self.batch);
        let pushed = compressed(&self.batch).and_then(|content| self.spool.push(&content, lines));
        self.batch.clear();
        match pushed {
            Ok(()) => self.told = false,
            Err(error) => {
                self.metrics.decisions_lost(Lost::Spool, lines);
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(%error, "cannot keep decisions until they are sent; they are lost");
                }
            }
        }
    }
}

impl Output for Upload {
    fn write(&mut self, lines: &[u8]) -> u64 {
        if self.batch.is_empty() {
            self.since = Instant::now();
        }
        self.batch.extend_from_slice(lines);
        if self.batch.len() >= BATCH || self.since.elapsed() >= AGE {
            self.close();
        }
        0
    }

    fn reopen(&mut self) {
        self.close();
    }

    fn patience(&self) -> Option<Duration> {
        (!self.batch.is_empty()).then(|| AGE.saturating_sub(self.since.elapsed()))
    }
}

impl Sender {
    /// Waits for a batch and sends it once. Waits longer after each failure.
    fn send(&mut self) {
        let (batch, content) = self.spool.first();
        let sent = match content {
            Ok(content) => self.post(&content),
            Err(reason) => {
                self.metrics.decisions_lost(Lost::Spool, batch.lines);
                tracing::warn!(reason, "lost decisions that waited to be sent");
                return self.spool.remove(batch);
            }
        };
        match sent {
            Sent::Taken => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!("sending decisions again");
                }
                self.spool.remove(batch);
            }
            Sent::Refused(reason) => {
                self.metrics.decisions_lost(Lost::Refused, batch.lines);
                let reason = Escaped(reason);
                tracing::warn!(%reason, lines = batch.lines, "decisions were refused; they are lost");
                self.spool.remove(batch);
            }
            Sent::Failed(reason) => {
                if self.failures == 0 {
                    let reason = Escaped(reason);
                    tracing::warn!(%reason, "cannot send decisions; they wait on disk");
                }
                self.failures = self.failures.saturating_add(1);
                thread::sleep(pause(self.failures));
            }
        }
    }

    fn post(&self, content: &[u8]) -> Sent {
        let answer = self.client.fetch(Request {
            method: Method::POST,
            url: &self.url,
            headers: self.headers.clone(),
            body: content,
            timeout: TIMEOUT,
            max_size: ANSWER,
        });
        match answer {
            Err(reason) => Sent::Failed(reason),
            Ok(answer) => judge(answer.status, &self.url),
        }
    }
}

fn judge(status: StatusCode, url: &Url) -> Sent {
    let reason = format!("{}: {status}", Shown(url));
    match status {
        _ if status.is_success() => Sent::Taken,
        // Credentials may be mended, and the server may be in a hurry.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => Sent::Failed(reason),
        _ if status.is_client_error() => Sent::Refused(reason),
        _ => Sent::Failed(reason),
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = PAUSE.saturating_mul(1 << (failures - 1).min(10));
    doubled.min(LONGEST_PAUSE)
}

fn compressed(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines)?;
    gzip.finish()
}

fn all_headers(more: &BTreeMap<String, Secret>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    for (name, value) in more {
        // Both were checked with the configuration.
        if let (Ok(name), Ok(mut value)) =
            (HeaderName::try_from(name), HeaderValue::from_bytes(value.expose()))
        {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_minute() {
        assert_eq!([1, 2, 6, 7, 100].map(|failures| pause(failures).as_secs()), [1, 2, 32, 60, 60]);
    }

    #[test]
    fn only_what_will_never_be_taken_is_given_up() {
        let url = "https://example.org/".parse().unwrap();
        let judged = |status: u16| match judge(StatusCode::from_u16(status).unwrap(), &url) {
            Sent::Taken => "taken",
            Sent::Refused(_) => "refused",
            Sent::Failed(_) => "failed",
        };
        assert_eq!([200, 204].map(judged), ["taken"; 2]);
        assert_eq!([400, 413, 415, 422].map(judged), ["refused"; 4]);
        assert_eq!([301, 401, 403, 404, 408, 429, 500, 503].map(judged), ["failed"; 8]);
    }
}
