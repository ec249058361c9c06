//! What policies said about a request, for those who ask afterwards.

use std::ops::Range;
use std::sync::Arc;

use super::Draft;
use super::rare::Clear;

/// The most bytes of a text that a policy gives.
pub const LONGEST_REASON: usize = 1024;

/// What policies said about a request: those in shadow mode that would not let it pass, and, if
/// [`super::Exchange::traced`] is set or they fail, those whose word counts.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Vec<Step>,
    shadows: Vec<Shadow>,
    /// The texts of `shadows`, so that none has memory of its own.
    texts: String,
}

/// What a policy said whose word counts.
#[derive(Clone, Debug)]
pub struct Step {
    pub policy: Arc<str>,
    /// The verdict, or `error`.
    pub said: &'static str,
    pub failed: bool,
    /// Whether it was not called, because it had said so before.
    pub remembered: bool,
}

/// What a policy in shadow mode would have done.
#[derive(Debug)]
struct Shadow {
    policy: Arc<str>,
    would: &'static str,
    text: Range<usize>,
}

impl Trace {
    pub fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Adds what a policy in shadow mode would have done, with its text, or else the names of what
    /// it would have changed.
    pub(crate) fn shadow(&mut self, policy: Arc<str>, would: &'static str, draft: &Draft) {
        let start = self.texts.len();
        match &draft.extras.read().failure {
            Some(text) => self.texts.push_str(&text[..text.floor_char_boundary(LONGEST_REASON)]),
            None => draft.names(&mut self.texts),
        }
        self.shadows.push(Shadow { policy, would, text: start..self.texts.len() });
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the names of the policies in shadow mode, what they would have done, and why.
    pub fn shadows(&self) -> impl ExactSizeIterator<Item = (&str, &'static str, &str)> {
        self.shadows.iter().map(|shadow| {
            let text = self.texts.get(shadow.text.clone()).unwrap_or_default();
            (&*shadow.policy, shadow.would, text)
        })
    }
}

impl Clear for Trace {
    fn clear(&mut self) {
        let Self { steps, shadows, texts } = self;
        steps.clear();
        shadows.clear();
        texts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_belong_to_their_policies() {
        let mut trace = Trace::default();
        let mut draft = Draft::default();
        draft.extras.make().failure = Some("ü".repeat(LONGEST_REASON));
        trace.shadow("long".into(), "reject", &draft);
        draft = Draft { any: true, interval: Some(1), hidden: true, ..Draft::default() };
        trace.shadow("changes".into(), "change", &draft);
        trace.shadow("silent".into(), "drop", &Draft::default());
        let said: Vec<_> = trace.shadows().collect();
        assert_eq!(said[0].2, "ü".repeat(LONGEST_REASON / 2));
        assert_eq!(said[1], ("changes", "change", "interval, hidden"));
        assert_eq!(said[2], ("silent", "drop", ""));
        trace.clear();
        assert_eq!(trace.shadows().len(), 0);
    }
}
