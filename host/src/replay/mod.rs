//! Asks a configuration about requests that were recorded, and compares what it says with what became
//! of them, or with what another configuration says.
//!
//! [`Recorded`] holds the requests in their order. A [`Stage`] is a configuration whose clock is that of
//! the recording; it is asked in that order, so that what policies keep grows as it did. [`replay`] asks
//! stages and makes a [`Report`].

mod allowance;
mod change;
mod judged;
mod recalled;
mod recorded;
mod report;
mod request;
mod stage;
mod verdicts;

use std::panic::resume_unwind;
use std::thread;

pub use self::allowance::Allowance;
pub use self::change::{Change, Counted, Example, Said, Side, Unrepeatable};
use self::judged::{Kept, Names};
pub use self::recalled::Recalled;
pub use self::recorded::Recorded;
pub use self::report::{Report, What};
pub use self::request::Site;
pub use self::stage::{Parts, Stage};
pub use self::verdicts::Verdicts;
use crate::policy::THREAD_STACK;

/// Asks `stages` about requests. If there are several, none of their policies may share anything over
/// workers: each is asked about the requests of some of them. What they say is compared with what was
/// recorded, or with what the stages of another configuration say.
///
/// # Errors
///
/// There can be no thread.
pub fn replay(
    recorded: &Recorded,
    stages: &mut [Stage],
    against: Option<&mut [Stage]>,
) -> std::io::Result<Report> {
    let before = match against {
        None => None,
        Some(stages) => Some(on_lanes(stages, |stage, lane| kept(recorded, stage, lane))?),
    };
    let before = before.as_ref();
    let reports = on_lanes(stages, |stage, lane| {
        let mut report = Report::default();
        for at in recorded.of_lane(lane) {
            let Some(record) = recorded.get(at) else { continue };
            let after = stage.ask(&record);
            let was =
                before.map(|lanes| lanes.iter().find_map(|(names, kept)| kept[at].judged(names)));
            let was = was.flatten().unwrap_or_else(|| judged::of_record(&record));
            report.add(at, &record, was, after);
        }
        report
    })?;
    let report = reports.into_iter().fold(Report::default(), Report::merge);
    Ok(report)
}

/// Asks what may serve next about requests, and what serves, for as long as it `goes_on`. Only what becomes
/// something else than it became, and than it becomes with what serves by now, is a difference between
/// them. The rest is that counts of rates begin empty here, that data has changed, and that earlier
/// configurations have decided.
pub fn foresee(
    recorded: &Recorded,
    serving: &mut Stage,
    next: &mut Stage,
    mut goes_on: impl FnMut() -> bool,
) -> Report {
    let mut report = Report::default();
    let records = (0..recorded.count()).filter_map(|at| Some((at, recorded.get(at)?)));
    for (at, record) in records {
        if !goes_on() {
            break;
        }
        let was = judged::of_record(&record);
        let by_now = serving.ask(&record).judged;
        let after = next.ask(&record);
        report.drifted += u64::from(by_now != was);
        let before = if after.judged == by_now { by_now } else { was };
        report.add(at, &record, before, after);
    }
    report
}

/// Which of the workers a stage is asked about: those with this remainder.
#[derive(Clone, Copy)]
pub struct Lane {
    number: usize,
    of: usize,
}

/// What a configuration says about the requests of a lane, by their places.
fn kept(recorded: &Recorded, stage: &mut Stage, lane: Lane) -> (Names, Vec<Kept>) {
    let (mut names, mut all) = (Names::default(), vec![Kept::default(); recorded.count()]);
    for at in recorded.of_lane(lane) {
        if let Some(record) = recorded.get(at) {
            all[at] = Kept::of(stage.ask(&record).judged, &mut names);
        }
    }
    (names, all)
}

/// Does work on a thread for each stage.
fn on_lanes<R: Send>(
    stages: &mut [Stage],
    work: impl Fn(&mut Stage, Lane) -> R + Sync,
) -> std::io::Result<Vec<R>> {
    let (of, work) = (stages.len(), &work);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, stage) in stages.iter_mut().enumerate() {
            let thread = thread::Builder::new().name("replay".into()).stack_size(THREAD_STACK);
            let lane = Lane { number, of };
            threads.push(thread.spawn_scoped(scope, move || work(stage, lane))?);
        }
        let results = threads.into_iter().map(|thread| thread.join());
        Ok(results.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect())
    })
}
