//! Certificates at the start, and the thread that renews them.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::error::{Error, system};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::tls::Certificates;
use crate::watch::POLL;

/// Loads the certificates that the process starts with.
pub fn load(config: &Config) -> Result<Certificates, Error> {
    Certificates::load(config, Duration::ZERO).map_err(Error::Config)
}

/// Shows the certificates, and renews those whose files change, for as long as they are used.
pub fn watch(certificates: &Arc<Certificates>, metrics: &Arc<Metrics>) -> Result<(), Error> {
    if certificates.is_empty() {
        return Ok(());
    }
    certificates.show(metrics);
    for (key, said) in certificates.warnings() {
        tracing::warn!(%key, "unusual certificate: {said}");
    }
    let (certificates, metrics) = (Arc::downgrade(certificates), metrics.clone());
    let look = move || {
        while let Some(certificates) = certificates.upgrade() {
            certificates.look(&metrics);
            drop(certificates);
            thread::sleep(POLL);
        }
    };
    let thread = thread::Builder::new().name("certificates".into()).spawn(look);
    thread.map(drop).map_err(|error| system("cannot start certificate thread", error))
}
