//! What the last requests would become, as it is shown and sent.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::change::{Change, Unrepeatable};
use super::report::Report;
use crate::decisions::prefix;
use crate::text::count;

/// What the last requests would become with another configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdicts {
    /// Why no request was asked about.
    pub skipped: Option<String>,
    /// How many were.
    pub requests: u64,
    /// When the first of them came.
    pub since: Option<String>,
    /// How many more there are that could not be asked about in time.
    pub left: u64,
    /// How many would become the same.
    pub same: u64,
    /// How many what serves would answer otherwise by now than it did then.
    pub drifted: u64,
    /// The most frequent first.
    pub changes: Vec<Change>,
    /// The policies that may say something else each time.
    pub unrepeatable: Vec<Unrepeatable>,
}

impl Verdicts {
    /// Says why no request was asked about.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self { skipped: Some(reason.into()), ..Self::default() }
    }

    /// Adds what was found.
    #[must_use]
    pub fn with(self, report: &Report) -> Self {
        let Report { requests, same, drifted, .. } = *report;
        Self { requests, same, drifted, changes: report.changes(), ..self }
    }

    /// Hides the addresses of clients, but for their networks.
    pub fn mask(&mut self) {
        for change in &mut self.changes {
            change.clients.clear();
            if let Some(example) = &mut change.example {
                let network = example.client.parse().map(|client| prefix(client).to_string());
                example.client = network.unwrap_or_default();
            }
        }
    }
}

/// Writes it in a sentence: `of the last 600 requests, 412 would become the same; 188 ok → rejected by
/// clients`.
impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.skipped {
            return write!(f, "no request was asked about: {reason}");
        }
        let Self { requests, same, left, .. } = self;
        write!(f, "of the last {}, ", count(requests + left, "request"))?;
        if *left > 0 {
            write!(f, "{requests} were asked about in time: ")?;
        }
        if same == requests {
            return f.write_str("all would become the same");
        }
        write!(f, "{same} would become the same")?;
        self.changes.iter().try_for_each(|change| write!(f, "; {change}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{Counted, Example, Side};

    fn found() -> Verdicts {
        let change = Change {
            what: "outcome".into(),
            count: 2,
            before: Side { outcome: "ok".into(), decided_by: String::new() },
            after: Side { outcome: "rejected".into(), decided_by: "clients".into() },
            clients: vec![Counted { name: "192.0.2.7".into(), count: 2 }],
            networks: vec![Counted { name: "192.0.2.0/24".into(), count: 2 }],
            example: Some(Example { client: "192.0.2.7".into(), ..Example::default() }),
            ..Change::default()
        };
        Verdicts { requests: 5, same: 3, changes: vec![change], ..Verdicts::default() }
    }

    #[test]
    fn it_is_a_sentence() {
        let mut found = found();
        let said = "of the last 5 requests, 3 would become the same; 2 ok → rejected by clients";
        assert_eq!(found.to_string(), said);
        found.left = 2;
        assert!(found.to_string().starts_with(
            "of the last 7 requests, 5 were asked about in time: 3 would become the same; "
        ));
        let same = Verdicts { requests: 5, same: 5, ..Verdicts::default() };
        assert_eq!(same.to_string(), "of the last 5 requests, all would become the same");
        let none = Verdicts::skipped("there is none");
        assert_eq!(none.to_string(), "no request was asked about: there is none");
    }

    #[test]
    fn a_mask_leaves_networks() {
        let mut found = found();
        found.mask();
        let json = serde_json::to_string(&found).unwrap();
        assert!(!json.contains("192.0.2.7"), "{json}");
        assert_eq!(found.changes[0].example.as_ref().unwrap().client, "192.0.2.0/24");
        assert_eq!(serde_json::from_str::<Verdicts>(&json).unwrap(), found);
    }
}
