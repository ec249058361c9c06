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
            spent,
            waiting,
            failing,
        } = accounts.figures();
        let (members, torrents) = (accounts.directory().members(), accounts.directory().torrents());
        let one = |value: f64| vec![(vec![], value)];
        let mut families = vec![
            gauge("karuta_accounts_members", "Members in the books.", one(members as f64)),
            gauge("karuta_accounts_torrents", "Torrents in the books.", one(torrents as f64)),
            gauge(
                "karuta_accounts_sessions",
                "Clients of members whose last report is remembered.",
                one(sessions as f64),
            ),
            gauge("karuta_accounts_size_bytes", "Size of the books.", one(bytes as f64)),
            gauge(
                "karuta_accounts_spent_tokens",
                "Tokens that are used up, of which the site has not been told.",
                one(spent as f64),
            ),
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
        ];
        let Some(site) = accounts.site() else { return families };
        families.extend([
            gauge(
                "karuta_accounts_database_up",
                "1 if the site's database could be used the last time, or else 0.",
                one(if site.trouble.is_some() { 0.0 } else { 1.0 }),
            ),
            gauge(
                "karuta_accounts_pending_rows",
                "Rows that wait to be written into the site's database.",
                one(site.pending as f64),
            ),
            gauge(
                "karuta_accounts_pending_seconds",
                "Time since nothing was waiting.",
                one(site.pending_for.as_secs_f64()),
            ),
            counter(
                "karuta_accounts_applied_total",
                "Batches that the site's database has.",
                one(site.applied as f64),
            ),
            counter(
                "karuta_accounts_applied_rows_total",
                "Rows of these batches.",
                one(site.rows as f64),
            ),
            counter(
                "karuta_accounts_replayed_total",
                "Batches that were played again, into a backup.",
                one(site.replayed as f64),
            ),
            counter(
                "karuta_accounts_lost_total",
                "Batches that a backup lacks and that are no longer kept.",
                one(site.lost as f64),
            ),
            counter(
                "karuta_accounts_database_failures_total",
                "Attempts to use the site's database that failed.",
                one(site.retries as f64),
            ),
            gauge(
                "karuta_accounts_rejected_rows",
                "Rows that the site's database has refused, and that are kept.",
                one(site.rejected as f64),
            ),
            gauge(
                "karuta_accounts_unusable_rows",
                "Members, torrents and tokens of the site's database that make no sense.",
                one(site.unusable as f64),
            ),
        ]);
        families
    }
}
