//! Puts formatted lines into the queue, with the priority that journald reads before each.

use std::io;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::queue::Queue;

/// Makes a writer for each line.
#[derive(Clone, Copy)]
pub struct Lines {
    pub queue: &'static Queue,
    /// Whether each line begins with its priority.
    pub priorities: bool,
}

/// The writer of one line.
pub struct Line {
    queue: &'static Queue,
    prefix: &'static str,
}

/// The priority of lines whose level is not known.
const INFO: &str = "<6>";

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { queue: self.queue, prefix: if self.priorities { INFO } else { "" } }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Line {
        let prefix = if self.priorities { priority(*line.level()) } else { "" };
        Line { queue: self.queue, prefix }
    }
}

/// Returns the prefix that stands for a level, as in sd-daemon(3). Karuta knows no notices (5).
pub fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => INFO,
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

impl io::Write for Line {
    /// Takes a whole line: the formatter writes it in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(self.prefix, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
