//! Totals for everyone.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::metrics::{Document, Handed, Metrics};

/// A page of numbers that is replaced once a second.
pub struct PublicStats {
    path: String,
    /// JSON; `None`: there is none yet.
    page: ArcSwapOption<Bytes>,
    metrics: Arc<Metrics>,
}

impl PublicStats {
    pub fn new(path: String, metrics: Arc<Metrics>) -> Self {
        Self { path, page: ArcSwapOption::empty(), metrics }
    }

    /// Returns where it is served.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn publish(&self, page: Bytes) {
        self.page.store(Some(Arc::new(page)));
    }

    /// Returns the page, if there is one by now.
    pub fn page(&self) -> Option<Bytes> {
        let page = self.page.load().as_deref().cloned();
        self.count(if page.is_some() { Handed::Ok } else { Handed::Unready });
        page
    }

    /// Counts a request for it that is wrong.
    pub fn refuse(&self) {
        self.count(Handed::Invalid);
    }

    fn count(&self, handed: Handed) {
        self.metrics.handed(Document::Stats, handed);
    }
}
