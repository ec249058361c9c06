//! Which differences are expected, and how many.

use std::str::FromStr;

use super::change::Change;
use super::report::{Report, What};

/// A difference that may be there, up to a share of all requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Allowance {
    kind: Kind,
    /// 0 to 1.
    share: f64,
}

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    /// From an outcome to another.
    Outcomes([&'static str; 2]),
    What(What),
}

const EXPECTED: &str = "expected such as ok→rejected:0.1% (or ok->rejected:0.1%), decided_by:1%, \
                        reason:1% or interval:5%";
const OUTCOMES: [&str; 4] = ["ok", "rejected", "dropped", "invalid"];

impl FromStr for Allowance {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (kind, share) = text.rsplit_once(':')?;
            let percent: f64 = share.strip_suffix('%')?.parse().ok()?;
            let share = percent / 100.0;
            let named = |name: &str| OUTCOMES.into_iter().find(|known| *known == name);
            let kind = match kind.split_once('→').or_else(|| kind.split_once("->")) {
                Some((before, after)) => Kind::Outcomes([named(before)?, named(after)?]),
                None => {
                    let mut kinds = What::ALL.into_iter().filter(|what| *what != What::Outcome);
                    Kind::What(kinds.find(|what| what.name() == kind)?)
                }
            };
            (0.0..=1.0).contains(&share).then_some(Self { kind, share })
        };
        read().ok_or(EXPECTED)
    }
}

impl Allowance {
    /// Returns whether all differences of a report are allowed.
    pub fn cover(all: &[Self], report: &Report) -> bool {
        let changes = report.changes();
        changes.iter().all(|change| {
            all.iter().filter(|allowed| allowed.is_about(change)).any(|allowed| {
                let of_kind = changes.iter().filter(|other| allowed.is_about(other));
                let count: u64 = of_kind.map(|other| other.count).sum();
                count as f64 / report.requests.max(1) as f64 <= allowed.share
            })
        })
    }

    fn is_about(&self, change: &Change) -> bool {
        match self.kind {
            Kind::Outcomes(outcomes) => {
                let is = [&*change.before.outcome, &*change.after.outcome];
                change.what == What::Outcome.name() && is == outcomes
            }
            Kind::What(what) => change.what == what.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_read_or_refused() {
        let read = |text: &str| text.parse::<Allowance>();
        let allowance = Allowance { kind: Kind::Outcomes(["ok", "rejected"]), share: 0.001 };
        assert_eq!(read("ok→rejected:0.1%"), Ok(allowance.clone()));
        assert_eq!(read("ok->rejected:0.1%"), Ok(allowance));
        let intervals = Allowance { kind: Kind::What(What::Interval), share: 1.0 };
        assert_eq!(read("interval:100%"), Ok(intervals));
        for text in
            ["", "ok", "ok→rejected", "ok→rejected:1", "ok→lost:1%", "outcome:1%", "interval:101%"]
        {
            assert_eq!(read(text), Err(EXPECTED), "{text}");
        }
    }
}
