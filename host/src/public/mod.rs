//! What anyone may read of a tracker that allows it: documents that are made ahead, so that a worker
//! only hands them over.

mod full_scrape;
mod stats;

pub use self::full_scrape::{FullScrape, Unanswered};
pub use self::stats::PublicStats;

use std::sync::Arc;

use crate::config::Config;
use crate::metrics::Metrics;

/// The documents of a configuration.
#[derive(Clone, Default)]
pub struct Public {
    pub full_scrape: Option<Arc<FullScrape>>,
    pub stats: Option<Arc<PublicStats>>,
}

impl Public {
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let full_scrape = config.swarms.full_scrape.as_ref();
        let stats = config.stats.public.as_ref();
        Self {
            full_scrape: full_scrape.map(|wanted| FullScrape::new(wanted, metrics.clone()).into()),
            stats: stats.map(|path| PublicStats::new(path.clone(), metrics.clone()).into()),
        }
    }
}
