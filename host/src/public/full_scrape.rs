//! The answer to a scrape of everything.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use clap::ValueEnum as _;

use crate::config;
use crate::export::Format;
use crate::limits::Limiter;
use crate::metrics::{Document, Handed, Metrics};

/// All torrents, in each of the formats that are allowed.
pub struct FullScrape {
    /// `None`: it has not been made yet. The first is for those who ask for none.
    documents: Vec<(Format, ArcSwapOption<Bytes>)>,
    min_interval: Duration,
    turns: Limiter,
    metrics: Arc<Metrics>,
}

/// Why a full scrape is not answered with a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unanswered {
    /// There is no such format.
    Unknown,
    /// The first one is being made.
    Unready,
    /// For so long, others of its address or network must wait too.
    TooSoon(Duration),
}

impl FullScrape {
    pub fn new(wanted: &config::FullScrape, metrics: Arc<Metrics>) -> Self {
        let (ipv4, ipv6) = if wanted.per_prefix { (24, 48) } else { (32, 128) };
        let documents = wanted.formats.iter();
        Self {
            documents: documents.map(|format| (*format, ArcSwapOption::empty())).collect(),
            min_interval: wanted.min_interval,
            turns: Limiter::once_in(wanted.min_interval, ipv4, ipv6),
            metrics,
        }
    }

    pub fn formats(&self) -> impl Iterator<Item = Format> {
        self.documents.iter().map(|(format, _)| *format)
    }

    /// Returns how often documents are made. It is also how long a client may take to read one, so that
    /// no more than the last two are kept for slow ones.
    pub fn min_interval(&self) -> Duration {
        self.min_interval
    }

    /// Replaces the document of a format.
    pub fn publish(&self, format: Format, document: Bytes) {
        self.metrics.published(format.name(), document.len());
        if let Some((_, current)) = self.documents.iter().find(|(known, _)| *known == format) {
            current.store(Some(Arc::new(document)));
        }
    }

    /// Returns the size in bytes of the document of a format; 0 if there is none.
    pub fn size(&self, format: Format) -> usize {
        let found = self.documents.iter().find(|(known, _)| *known == format);
        found.and_then(|(_, current)| current.load().as_ref().map(|bytes| bytes.len())).unwrap_or(0)
    }

    /// Returns the document of a format, or of the first one. A client has one in so long, of
    /// whichever format.
    ///
    /// # Errors
    ///
    /// There is none for this client. That it has asked counts only if it is answered.
    pub fn ask(
        &self,
        format: Option<&str>,
        client: IpAddr,
        now: Instant,
    ) -> Result<(Format, Bytes), Unanswered> {
        let answer = self.find(format).and_then(|(format, bytes)| {
            match self.turns.admit_or_wait(client, now) {
                Ok(()) => Ok((format, bytes)),
                Err(wait) => Err(Unanswered::TooSoon(wait)),
            }
        });
        let handed = match &answer {
            Ok(_) => Handed::Ok,
            Err(Unanswered::Unknown) => Handed::Invalid,
            Err(Unanswered::Unready) => Handed::Unready,
            Err(Unanswered::TooSoon(_)) => Handed::Limited,
        };
        self.metrics.handed(Document::FullScrape, handed);
        answer
    }

    fn find(&self, format: Option<&str>) -> Result<(Format, Bytes), Unanswered> {
        let mut documents = self.documents.iter();
        let found = match format {
            None => documents.next(),
            Some(name) => {
                let format = Format::from_str(name, false).map_err(|_| Unanswered::Unknown)?;
                documents.find(|(known, _)| *known == format)
            }
        };
        let (format, document) = found.ok_or(Unanswered::Unknown)?;
        let document = document.load();
        document.as_deref().map(|bytes| (*format, bytes.clone())).ok_or(Unanswered::Unready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_scrape(per_prefix: bool) -> (FullScrape, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(Default::default));
        let wanted = config::FullScrape {
            formats: vec![Format::Ben, Format::Txt],
            min_interval: Duration::from_secs(300),
            per_prefix,
        };
        (FullScrape::new(&wanted, metrics.clone()), metrics)
    }

    #[test]
    fn a_network_has_one_document_in_an_interval() {
        let (scrape, metrics) = full_scrape(true);
        let now = Instant::now();
        let ask = |format: Option<&str>, client: &str, seconds| {
            let at = now + Duration::from_secs(seconds);
            let found = scrape.ask(format, client.parse().unwrap(), at);
            found.map(|(format, _)| format.name())
        };
        assert_eq!(ask(None, "192.0.2.1", 0), Err(Unanswered::Unready));
        scrape.publish(Format::Txt, Bytes::from_static(b"txt"));
        assert_eq!(ask(None, "192.0.2.1", 0), Err(Unanswered::Unready), "ben is not there yet");
        scrape.publish(Format::Ben, Bytes::from_static(b"ben"));
        assert_eq!(ask(Some("xml"), "192.0.2.1", 0), Err(Unanswered::Unknown));
        assert_eq!(ask(Some("bin"), "192.0.2.1", 0), Err(Unanswered::Unknown), "not allowed");
        assert_eq!(ask(None, "192.0.2.1", 0), Ok("ben"));
        let wait = Duration::from_secs(200);
        assert_eq!(ask(Some("txt"), "192.0.2.9", 100), Err(Unanswered::TooSoon(wait)));
        assert_eq!(ask(Some("txt"), "192.0.3.1", 100), Ok("txt"));
        assert_eq!(ask(Some("txt"), "192.0.2.9", 300), Ok("txt"));
        let page = metrics.render();
        for (outcome, count) in [("ok", 3), ("unready", 2), ("invalid", 2), ("limited", 1)] {
            let labels = format!("{{document=\"full_scrape\",outcome=\"{outcome}\"}}");
            let line = format!("karuta_public_requests_total{labels} {count}\n");
            assert!(page.contains(&line), "{page}");
        }
        assert!(page.contains("karuta_full_scrape_size_bytes{format=\"ben\"} 3\n"), "{page}");
    }

    #[test]
    fn without_prefixes_each_address_has_one() {
        let (scrape, _) = full_scrape(false);
        scrape.publish(Format::Ben, Bytes::from_static(b"ben"));
        let now = Instant::now();
        let ask = |client: &str| scrape.ask(None, client.parse().unwrap(), now).is_ok();
        assert!(ask("192.0.2.1") && ask("192.0.2.2") && ask("2001:db8::1") && ask("2001:db8::2"));
        assert!(!ask("192.0.2.1") && !ask("2001:db8::2"));
    }
}
