//! Results as JUnit XML, for CI servers.

use std::fmt::Write as _;

use super::Outcome;

/// Returns the text of the file.
pub fn report(plugin: &str, outcomes: &[Outcome]) -> String {
    let failures = outcomes.iter().filter(|outcome| !outcome.is_fine()).count();
    let time: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let plugin = escape(plugin);
    let _ = writeln!(
        text,
        "<testsuite name=\"{plugin}\" tests=\"{}\" failures=\"{failures}\" time=\"{time:.6}\">",
        outcomes.len()
    );
    for outcome in outcomes {
        let (name, took) = (escape(&outcome.name), outcome.took.as_secs_f64());
        let _ =
            write!(text, "  <testcase classname=\"{plugin}\" name=\"{name}\" time=\"{took:.6}\"");
        if outcome.is_fine() {
            text.push_str("/>\n");
            continue;
        }
        let first = outcome.differences.first().map(String::as_str).unwrap_or_default();
        let _ = writeln!(text, ">\n    <failure message=\"{}\">", escape(first.trim()));
        let _ = writeln!(text, "{}", escape(&outcome.place));
        for line in outcome.differences.iter().chain(&outcome.logs) {
            let _ = writeln!(text, "{}", escape(line));
        }
        text.push_str("    </failure>\n  </testcase>\n");
    }
    text.push_str("</testsuite>\n");
    text
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // XML cannot express the others.
            '\n' | '\t' => escaped.push(character),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
        escaped
    })
}
