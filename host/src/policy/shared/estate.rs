//! The state that one version of a policy hands to the next.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::allowance::Allowance;
use super::clock::Clock;
use super::keyvalues::KeyValues;
use super::ledger::Ledger;
use super::named::Named;
use super::publications::Publications;
use super::shutdown::Shutdown;
use crate::metrics::plugin::Registry;

/// The state of a tracker's policies that outlives a reload, by name.
#[derive(Default)]
pub struct Estate {
    pub stores: Named<KeyValues>,
    pub ledgers: Named<Mutex<Ledger>>,
    /// By the policy's name and the component's digest.
    pub publications: Named<Publications>,
    pub series: Arc<Registry>,
    pub allowances: Named<Allowance>,
    /// The id of the last outcome; ids grow while the daemon runs.
    pub last_id: Arc<AtomicU64>,
    /// Ends the control instances of all policies.
    pub shutdown: Arc<Shutdown>,
    /// The clock of all policies.
    pub clock: Clock,
    /// If not 0, all policies get a fixed sequence instead of random numbers, and this is its seed.
    pub seed: u64,
}

impl Estate {
    /// Creates an estate whose policies count in `series`.
    pub fn new(series: Arc<Registry>) -> Self {
        Self { series, ..Self::default() }
    }

    /// Creates an estate for policies that are asked about other times, and give the same answer each
    /// time.
    pub fn standing(clock: Clock, seed: u64) -> Self {
        Self { clock, seed, ..Self::default() }
    }
}
