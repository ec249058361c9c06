//! The series of documents that anyone may read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use prometheus::proto::MetricFamily;

use super::Metrics;
use super::render::{counter, gauge};

label! {
    /// A document that anyone may read.
    Document { FullScrape => "full_scrape", Stats => "stats" }
}

label! {
    /// What became of a request for a document.
    Handed { Ok => "ok", Limited => "limited", Unready => "unready", Invalid => "invalid" }
}

#[derive(Default)]
pub(super) struct Public {
    handed: [[AtomicU64; Handed::ALL.len()]; Document::ALL.len()],
    /// The sizes of full scrapes in bytes, by format.
    sizes: Mutex<BTreeMap<&'static str, usize>>,
}

impl Metrics {
    /// Counts a request for a document.
    pub fn handed(&self, document: Document, handed: Handed) {
        self.public.handed[document as usize][handed as usize].fetch_add(1, Relaxed);
    }

    /// Records a new full scrape of so many bytes.
    pub fn published(&self, format: &'static str, size: usize) {
        self.public.sizes.lock().insert(format, size);
    }
}

impl Public {
    pub(super) fn families(&self) -> [MetricFamily; 2] {
        let mut requests = Vec::new();
        for document in Document::ALL {
            let counts = &self.handed[*document as usize];
            let counts =
                Handed::ALL.iter().map(|handed| (handed, counts[*handed as usize].load(Relaxed)));
            // All outcomes appear with the first request.
            if counts.clone().any(|(_, count)| count > 0) {
                requests.extend(counts.map(|(handed, count)| {
                    let labels = vec![("document", document.name()), ("outcome", handed.name())];
                    (labels, count as f64)
                }));
            }
        }
        let sizes = self.sizes.lock();
        let sizes = sizes.iter().map(|(format, size)| (vec![("format", *format)], *size as f64));
        [
            counter(
                "karuta_public_requests_total",
                "Requests for documents that anyone may read, by outcome.",
                requests,
            ),
            gauge(
                "karuta_full_scrape_size_bytes",
                "Size of the full scrape that is handed out.",
                sizes.collect(),
            ),
        ]
    }
}
