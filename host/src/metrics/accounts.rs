//! The series of the books of a private tracker.

use std::sync::Arc;

use karuta_accounts::{Accounts, Figures};
use prometheus::proto::MetricFamily;

use super::Metrics;
use super::render::{counter, gauge};

impl Metrics {
    /// Sets the books, which are counted where they are written.
    pub fn set_accounts(&self, accounts: Arc<Accounts>) {
        // There is one for the life of the process.
        let _ = self.accounts.set(accounts);
    }

    pub(super) fn account_families(&self) -> Vec<MetricFamily> {
        let Some(accounts) = self.accounts.get() else { return Vec::new() };
        let Figures {
            written,
            batches,
            writing,
            dropped,
            suspect,
            surplus,
            failures,
            sessions,
            bytes,
            waiting,
            failing,
        } = accounts.figures();
        let (members, torrents) = (accounts.directory().members(), accounts.directory().torrents());
        let one = |value: f64| vec![(vec![], value)];
        vec![
            gauge("karuta_accounts_members", "Members in the books.", one(members as f64)),
            gauge("karuta_accounts_torrents", "Torrents in the books.", one(torrents as f64)),
            gauge(
                "karuta_accounts_sessions",
                "Clients of members whose last report is remembered.",
                one(sessions as f64),
            ),
            gauge("karuta_accounts_size_bytes", "Size of the books.", one(bytes as f64)),
            gauge(
                "karuta_accounts_waiting",
                "Announces that wait to be written into the books.",
                one(waiting as f64),
            ),
            gauge(
                "karuta_accounts_writable",
                "0 if the last attempt to write the books failed or has not ended within 5 s, or else 1.",
                one(if failing.is_some() { 0.0 } else { 1.0 }),
            ),
            counter(
                "karuta_accounts_announces_total",
                "Announces that are in the books.",
                one(written as f64),
            ),
            counter(
                "karuta_accounts_transactions_total",
                "Transactions that announces were written in.",
                one(batches as f64),
            ),
            counter(
                "karuta_accounts_write_seconds_total",
                "Time that these transactions took.",
                one(writing.as_secs_f64()),
            ),
            counter(
                "karuta_accounts_write_failures_total",
                "Attempts to write the books that failed.",
                one(failures as f64),
            ),
            counter(
                "karuta_accounts_dropped_total",
                "Announces that came faster than they were written; the next ones make up for them.",
                one(dropped as f64),
            ),
            counter(
                "karuta_accounts_suspect_total",
                "Announces that exceeded the guard's rate.",
                one(suspect as f64),
            ),
            counter(
                "karuta_accounts_surplus_total",
                "Announces of more peers than a member may have at a torrent.",
                one(surplus as f64),
            ),
        ]
    }
}
