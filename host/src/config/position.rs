//! A place in the configuration's text.

use saphyr_parser::Marker;

/// A line and a column of the text, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

impl From<Marker> for Position {
    fn from(mark: Marker) -> Self {
        // the parser's columns begin at 0, whatever its documentation says
        Self { line: mark.line().max(1), column: mark.col() + 1 }
    }
}
