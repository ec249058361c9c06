//! What became of a request, as far as it is compared.

use crate::metrics::Outcome;
use crate::recording::Record;

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged<'a> {
    /// Invalid: it cannot be read any more.
    pub outcome: Outcome,
    /// The policy or the limit; empty: none.
    pub decided_by: &'a str,
    /// Of a refusal.
    pub reason: &'a str,
    /// Seconds; of an announce that is answered.
    pub intervals: [u32; 2],
}

/// The same, to be kept: texts are numbers of [`Names`].
#[derive(Clone, Copy, Default)]
pub struct Kept(Option<(Outcome, u32, u32, [u32; 2])>);

/// Texts that are used again and again.
#[derive(Default)]
pub struct Names(Vec<String>);

/// How much of a reason is recorded, and so compared, in bytes.
const REASON: usize = 120;

/// Returns what became of a request that was recorded.
pub fn of_record<'a>(record: &Record<'a>) -> Judged<'a> {
    let has_intervals = record.outcome == Outcome::Ok && !record.is_scrape;
    Judged {
        outcome: record.outcome,
        decided_by: record.decided_by,
        reason: record.reason,
        intervals: if has_intervals { [record.interval, record.min_interval] } else { [0; 2] },
    }
}

/// Cuts a reason as it is recorded.
pub fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON)]
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        let known = self.0.iter().position(|known| known == text);
        let at = known.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        at as u32
    }

    fn text(&self, number: u32) -> &str {
        self.0.get(number as usize).map_or("", String::as_str)
    }
}

impl Kept {
    pub fn of(judged: Judged, names: &mut Names) -> Self {
        let Judged { outcome, decided_by, reason, intervals } = judged;
        Self(Some((outcome, names.number(decided_by), names.number(reason), intervals)))
    }

    /// Returns what was kept, if anything was.
    pub fn judged<'a>(&self, names: &'a Names) -> Option<Judged<'a>> {
        self.0.map(|(outcome, decided_by, reason, intervals)| Judged {
            outcome,
            decided_by: names.text(decided_by),
            reason: names.text(reason),
            intervals,
        })
    }
}
