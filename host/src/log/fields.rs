//! Escapes the message and the fields of a log line, so that each stays on its line.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::text::Escaping;

/// Formats messages and fields like `tracing-subscriber`, but escapes the values, so that none can
/// begin a new line or send commands to the terminal. They contain text from policies, clients and
/// servers.
pub struct Fields;

struct Line<'w> {
    writer: Writer<'w>,
    begun: bool,
    result: fmt::Result,
}

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, begun: false, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        // The origin of a line from the crate `log` is already in the line's head.
        if self.result.is_ok() && !name.starts_with("log.") {
            self.result = self.write(name, value);
        }
    }
}

impl Line<'_> {
    fn write(&mut self, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
        if std::mem::replace(&mut self.begun, true) {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            let name = name.strip_prefix("r#").unwrap_or(name);
            match self.writer.has_ansi_escapes() {
                true => write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
                false => write!(self.writer, "{name}=")?,
            }
        }
        write!(Escaping(&mut self.writer), "{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that `work` logs.
    fn lines(ansi: bool, work: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let to = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || to.clone())
            .with_ansi(ansi)
            .without_time()
            .fmt_fields(Fields);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, work);
        let written = std::mem::take(&mut *written.0.lock().unwrap());
        String::from_utf8(written).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn no_value_can_add_a_line() {
        const EVIL: &str = "broken\nFORGED\r\u{1b}[2J\u{202e}";
        let plain = r"broken\nFORGED\r\u{1b}[2J\u{202e}";
        let error = io::Error::other(EVIL);
        let written = lines(false, || {
            tracing::info!("{EVIL}");
            tracing::info!(said = EVIL, "a text");
            tracing::info!(said = %EVIL, "shown");
            tracing::info!(said = ?EVIL, "with Debug");
            tracing::info!(said = &error as &dyn std::error::Error, "an error");
            tracing::info!(r#type = %EVIL, count = 2, "several");
        });
        let expected = [
            plain.to_owned(),
            format!("a text said=\"{plain}\""),
            format!("shown said={plain}"),
            format!("with Debug said=\"{plain}\""),
            format!("an error said={plain}"),
            format!("several type={plain} count=2"),
        ];
        let head = " INFO karuta::log::fields::tests: ";
        assert_eq!(written, expected.map(|line| format!("{head}{line}")));
    }

    #[test]
    fn only_the_host_writes_colours() {
        let written = lines(true, || tracing::info!(said = %"\u{1b}[31m", "red"));
        assert!(written[0].ends_with("red \u{1b}[3msaid\u{1b}[0m\u{1b}[2m=\u{1b}[0m\\u{1b}[31m"));
    }
}
