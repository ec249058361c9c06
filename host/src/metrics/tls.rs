//! What is counted about TLS.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use prometheus::proto::MetricFamily;
use serde::Serialize;

use super::Metrics;
use super::render::{counter, gauge};

label! {
    /// The outcome of a handshake.
    Handshake {
        Ok => "ok",
        Resumed => "resumed",
        Alert => "alert",
        Closed => "closed",
        Timeout => "timeout",
        Plain => "plain",
        Evicted => "evicted",
    }
}

label! {
    /// The outcome of reading a certificate again.
    Renewal { Applied => "applied", Refused => "refused" }
}

/// The counters. All threads share them, because a handshake takes far longer than an atomic.
#[derive(Default)]
pub(super) struct Tls {
    handshakes: [AtomicU64; Handshake::ALL.len()],
    renewals: [AtomicU64; Renewal::ALL.len()],
    certificates: Mutex<Vec<ShownCertificate>>,
}

/// A certificate in use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ShownCertificate {
    /// The address of its listener.
    pub listener: String,
    pub file: String,
    /// DNS names, in order.
    pub names: Vec<String>,
    /// When it ends, in seconds since 1970.
    #[serde(rename = "not_after")]
    pub end: u64,
    /// When it was read, in seconds since 1970.
    pub read: u64,
}

impl Metrics {
    /// Sets the certificates in use.
    pub fn set_certificates(&self, certificates: Vec<ShownCertificate>) {
        *self.tls.certificates.lock() = certificates;
    }

    /// Returns the certificates in use.
    pub fn certificates(&self) -> Vec<ShownCertificate> {
        self.tls.certificates.lock().clone()
    }

    pub fn handshake(&self, outcome: Handshake) {
        self.tls.handshakes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Counts a certificate that was read again.
    pub fn renewal(&self, outcome: Renewal) {
        self.tls.renewals[outcome as usize].fetch_add(1, Relaxed);
    }
}

impl Tls {
    /// Returns the series; none if there is no TLS.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let certificates = self.certificates.lock();
        if certificates.is_empty() {
            return Vec::new();
        }
        let ends = certificates.iter().map(|one| {
            (vec![("listener", &*one.listener), ("certificate", &*one.file)], one.end as f64)
        });
        let handshakes = Handshake::ALL.iter().map(|outcome| {
            let count = self.handshakes[*outcome as usize].load(Relaxed);
            (vec![("outcome", outcome.name())], count as f64)
        });
        let renewals = Renewal::ALL.iter().map(|outcome| {
            let count = self.renewals[*outcome as usize].load(Relaxed);
            (vec![("outcome", outcome.name())], count as f64)
        });
        vec![
            gauge(
                "karuta_tls_certificate_not_after_timestamp_seconds",
                "When the certificate in use ends, in seconds since 1970.",
                ends.collect(),
            ),
            counter(
                "karuta_tls_reloads_total",
                "Certificates that were read again because they had changed, by outcome.",
                renewals.collect(),
            ),
            counter(
                "karuta_tls_handshakes_total",
                "TLS handshakes, by outcome.",
                handshakes.collect(),
            ),
        ]
    }
}
