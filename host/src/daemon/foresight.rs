//! Asks what may serve next about the last requests, beside the workers and after them.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::{Error, system};
use super::loaded::Loaded;
use super::replay::{stage, unrepeatable};
use crate::config::Config;
use crate::decisions::time;
use crate::policy::{self, Shutdown};
use crate::process;
use crate::recording::{Hidden, Rings};
use crate::replay::{Recorded, Verdicts, foresee};

/// How many of the last requests are asked about, at most.
const MOST: usize = 20_000;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks about the last requests, for one caller after the other.
pub struct Foresight {
    /// `None`: requests are not recorded.
    pub rings: Option<Arc<Rings>>,
    /// The configuration that the process was started with, whose listeners read requests.
    pub started: Arc<Config>,
    pub shutdown: Arc<Shutdown>,
    pub turn: Mutex<()>,
}

impl Foresight {
    /// Says what the last requests would become with `next` instead of what serves.
    pub fn of(&self, serving: &Loaded, next: &Loaded) -> Verdicts {
        let Some(rings) = &self.rings else {
            return Verdicts::skipped("requests are not recorded: `record` is false");
        };
        let _turn = self.turn.lock();
        let asked = thread::scope(|scope| {
            let thread = thread::Builder::new().name("foresight".into());
            let asking = thread.stack_size(policy::THREAD_STACK).spawn_scoped(scope, || {
                // The threads that it starts inherit that.
                process::lower_priority(process::BEHIND);
                self.ask(rings, serving, next)
            });
            let asking = asking.map_err(|error| system("cannot start thread", error))?;
            asking.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        asked.unwrap_or_else(|error| Verdicts::skipped(error.to_string()))
    }

    fn ask(&self, rings: &Rings, serving: &Loaded, next: &Loaded) -> Result<Verdicts, Error> {
        let recorded = Recorded::of_rings(rings, MOST, process::give_way);
        if recorded.count() == 0 {
            return Ok(Verdicts::skipped("none is recorded yet"));
        }
        let make = |loaded| stage(loaded, &self.started, &recorded);
        let mut stages = [make(serving)?, make(next)?];
        let [serving, next_stage] = &mut stages;
        let end = Instant::now() + PATIENCE;
        let report = foresee(&recorded, serving, next_stage, || {
            process::give_way();
            Instant::now() < end && !self.shutdown.has_begun()
        });
        let verdicts = Verdicts {
            since: Some(time(u64::try_from(recorded.start().as_millis()).unwrap_or(u64::MAX))),
            left: (recorded.count() as u64).saturating_sub(report.requests),
            unrepeatable: unrepeatable(&next.generation, Hidden::default()),
            ..Verdicts::default()
        };
        Ok(verdicts.with(&report))
    }
}
