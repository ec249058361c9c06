//! Positions in the text of the configuration.

use saphyr_parser::Marker;

/// A line and a column, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

impl From<Marker> for Position {
    fn from(mark: Marker) -> Self {
        // the parser's columns begin at 0, contrary to its documentation
        Self { line: mark.line().max(1), column: mark.col() + 1 }
    }
}
