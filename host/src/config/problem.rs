//! A problem with a value, before it has a position.

use super::{Error, Source};

/// A problem with the value at a path.
pub(super) struct Problem {
    pub path: String,
    pub message: String,
}

impl Problem {
    pub fn at(self, source: &Source) -> Error {
        source.error(&self.path, self.message)
    }
}

pub(super) fn problem<T>(
    path: impl Into<String>,
    message: impl Into<String>,
) -> Result<T, Problem> {
    Err(Problem { path: path.into(), message: message.into() })
}
