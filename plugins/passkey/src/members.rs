//! The list of members: one JSON mapping per line.

use karuta_plugin::{Error, config, text};
use serde::Deserialize;

/// The number and the rights of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    pub id: Option<u64>,
    pub enabled: bool,
    pub leech: bool,
}

impl Member {
    /// One with all rights, of whom nothing else is known.
    pub const NAMELESS: Self = Self { id: None, enabled: true, leech: true };
}

/// A line of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    passkey: Key,
    id: Option<u64>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default = "yes")]
    leech: bool,
}

fn yes() -> bool {
    true
}

/// The maximum length of a passkey in bytes.
const LONGEST: usize = 255;
const EXPECTED: &str = "expected a mapping such as \
    {\"passkey\": \"…\", \"id\": 7, \"enabled\": true, \"leech\": true}, \
    with no other key and a passkey of 1 to 255 bytes";

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Key(String);

impl TryFrom<String> for Key {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        match text.len() {
            1..=LONGEST => Ok(Self(text)),
            _ => Err("too short or too long"),
        }
    }
}

/// All members, by passkey. A member takes about 24 bytes plus its passkey.
#[derive(Default)]
pub struct Members {
    /// The passkeys, concatenated.
    passkeys: String,
    /// Sorted by passkey.
    entries: Vec<Entry>,
}

struct Entry {
    /// Where its passkey begins in `passkeys`.
    start: u32,
    length: u8,
    has_id: bool,
    enabled: bool,
    leech: bool,
    id: u64,
}

impl Members {
    /// Reads a list. Blank lines are skipped.
    ///
    /// # Errors
    ///
    /// Fails at the first wrong line. The error has its number and what was expected, but never its
    /// text.
    pub fn read(data: &[u8]) -> Result<Self, Error> {
        let mut passkeys = String::new();
        let mut entries = Vec::new();
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text::lines(text::decode(data)?)) {
            if line.trim().is_empty() {
                continue;
            }
            // The wrong value may be a misplaced passkey, so the error must not show it.
            let Line { passkey: Key(passkey), id, enabled, leech } =
                config::from_json(line.as_bytes())
                    .map_err(|_| Error::at(format_args!("line {number}"), EXPECTED))?;
            let start = u32::try_from(passkeys.len())
                .map_err(|_| Error::new("the passkeys take more than 4 GiB"))?;
            passkeys.push_str(&passkey);
            let (length, has_id) = (passkey.len() as u8, id.is_some());
            let id = id.unwrap_or(0);
            entries.push(Entry { start, length, has_id, enabled, leech, id });
            lines.push(number);
        }
        let mut members = Self { passkeys, entries };
        members.sort(&lines)?;
        Ok(members)
    }

    /// Sorts the entries, which are still in the order of their lines.
    fn sort(&mut self, lines: &[usize]) -> Result<(), Error> {
        let Self { passkeys, entries } = self;
        let passkey = |entry: &Entry| &passkeys[entry.range()];
        // The sort is stable: entries with the same passkey stay in the order of their lines.
        entries.sort_by(|one, other| passkey(one).cmp(passkey(other)));
        let mut pairs = entries.windows(2);
        let Some(pair) = pairs.find(|pair| passkey(&pair[0]) == passkey(&pair[1])) else {
            return Ok(());
        };
        // Passkeys were appended line by line, so the starts are in the order of the lines.
        let mut starts: Vec<u32> = entries.iter().map(|entry| entry.start).collect();
        starts.sort_unstable();
        let line = |entry: &Entry| starts.binary_search(&entry.start).map_or(0, |at| lines[at]);
        let (first, second) = (line(&pair[0]), line(&pair[1]));
        Err(Error::new(format!("line {second}: the same passkey as in line {first}")))
    }

    pub fn find(&self, passkey: &str) -> Option<Member> {
        let compare = |entry: &Entry| self.passkeys[entry.range()].cmp(passkey);
        let at = self.entries.binary_search_by(compare).ok()?;
        let Entry { has_id, enabled, leech, id, .. } = self.entries[at];
        Some(Member { id: has_id.then_some(id), enabled, leech })
    }
}

impl Entry {
    fn range(&self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_granted_by_default() {
        let list = "\u{feff}{\"passkey\": \"a\"}\r\n\n  \t\r\n{\"passkey\": \"ü\", \"id\": 0, \"leech\": false}\r\
            {\"enabled\": false, \"passkey\": \"b\", \"id\": 18446744073709551615}";
        let members = Members::read(list.as_bytes()).unwrap();
        let expected = [
            ("a", Some(Member { id: None, enabled: true, leech: true })),
            ("ü", Some(Member { id: Some(0), enabled: true, leech: false })),
            ("b", Some(Member { id: Some(u64::MAX), enabled: false, leech: true })),
            ("", None),
            ("ab", None),
            ("c", None),
        ];
        for (passkey, member) in expected {
            assert_eq!(members.find(passkey), member, "{passkey}");
        }
        assert!(Members::read(b"").unwrap().find("").is_none());
    }

    #[test]
    fn each_of_many_is_found() {
        let line = |n: u64| format!("{{\"passkey\": \"{:032x}\", \"id\": {n}}}\n", n * 0x9e37_79b9);
        let members = Members::read((0..5000).map(line).collect::<String>().as_bytes()).unwrap();
        for n in 0..5000 {
            let found = members.find(&format!("{:032x}", n * 0x9e37_79b9)).unwrap();
            assert_eq!(found.id, Some(n));
        }
        assert_eq!(members.find(&format!("{:032x}", 1)), None);
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        let long = format!("{{\"passkey\": \"{}\"}}", "x".repeat(256));
        for line in [
            "secret",
            "[\"secret\"]",
            "{\"passkey\": \"secret\"",
            "{\"passkey\": \"\"}",
            &long,
            "{\"id\": 7}",
            "{\"passkey\": 7}",
            "{\"secret\": 7}",
            "{\"passkey\": \"secret\", \"id\": \"7\"}",
            "{\"passkey\": \"secret\", \"enabled\": 0}",
            "{\"passkey\": \"secret\", \"enable\": false}",
            "{\"passkey\": \"secret\", \"leech\": false, \"leech\": true}",
        ] {
            let list = format!("{{\"passkey\": \"a\"}}\n\n{line}\n");
            let error = Members::read(list.as_bytes()).err().map(String::from);
            assert_eq!(error, Some(format!("line 3: {EXPECTED}")), "{line}");
        }
        let twice = "{\"passkey\": \"b\"}\n\n{\"passkey\": \"a\"}\n{\"passkey\": \"c\"}\n{\"passkey\": \"b\"}";
        let error = Members::read(twice.as_bytes()).err().map(String::from);
        assert_eq!(error.as_deref(), Some("line 5: the same passkey as in line 1"));
        let error = Members::read(b"{\"passkey\": \"\xff\"}").err().map(String::from).unwrap();
        assert!(error.starts_with("line 1: ") && !error.contains('\u{fffd}'), "{error}");
    }
}
