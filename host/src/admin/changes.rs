//! What has changed from one look at the status to the next.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::health::{Health, Word};
use super::reloads::Attempt;
use crate::metrics::ShownCertificate;
use crate::text::cut;

/// What is compared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Looked {
    reload: Option<Attempt>,
    /// The states of the policies.
    policies: BTreeMap<String, &'static str>,
    /// By policy and data: the version, and how many entries it has.
    data: BTreeMap<(String, String), (u64, usize)>,
    certificates: Vec<ShownCertificate>,
    /// When the newest snapshot was written, and why the last attempt failed.
    snapshot: Option<(Option<u64>, Option<String>)>,
    health: Word,
    /// Where to look, and what is said first.
    panels: Vec<&'static str>,
    first: Option<String>,
}

/// A kind of change, and a plain sentence.
pub type Change = (&'static str, String);

impl Looked {
    /// Looks at the facts and the health; the newest snapshot was written at `snapshot`, in
    /// milliseconds since 1970.
    pub fn at(facts: &Facts, health: &Health, snapshot: Option<u64>) -> Self {
        let policies = facts.policies.iter();
        let data = policies.clone().flat_map(|policy| {
            policy.data.iter().map(|data| {
                ((policy.name.clone(), data.name.clone()), (data.version, data.entries))
            })
        });
        Self {
            reload: facts.last_reload.clone(),
            data: data.collect(),
            policies: policies.map(|policy| (policy.name.clone(), policy.state)).collect(),
            certificates: facts.certificates.clone(),
            snapshot: facts.snapshot.as_ref().map(|one| (snapshot, one.error.clone())),
            health: health.word,
            panels: health.reasons.iter().map(|reason| reason.panel).collect(),
            first: health.reasons.first().map(|reason| reason.text.clone()),
        }
    }

    /// Lists what is different later.
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(last) = later.reload.as_ref().filter(|_| self.reload != later.reload) {
            changes.push((
                "reload",
                match (&last.refusal, &last.report) {
                    (Some(refusal), _) => format!("refused a reload: {refusal}"),
                    (None, Some(report)) => format!("generation {}: {report}", last.generation),
                    (None, None) => last.outcome.to_owned(),
                },
            ));
        }
        for (policy, state) in &later.policies {
            match self.policies.get(policy) {
                Some(before) if before != state => {
                    let verb = if *state == "failed" { "has" } else { "is" };
                    changes.push(("policy", format!("the policy `{policy}` {verb} {state}")));
                }
                _ => {}
            }
        }
        for ((policy, data), (version, entries)) in &later.data {
            match self.data.get(&(policy.clone(), data.clone())) {
                Some(before) if before != &(*version, *entries) => changes.push((
                    "list",
                    format!(
                        "the data `{data}` of `{policy}`: version {version}, {entries} entries"
                    ),
                )),
                _ => {}
            }
        }
        for one in later.certificates.iter().filter(|one| !self.certificates.contains(one)) {
            changes.push(("certificate", format!("{} of {} was read", one.file, one.listener)));
        }
        if self.snapshot != later.snapshot {
            match &later.snapshot {
                Some((_, Some(error))) => {
                    changes.push(("snapshot", format!("the snapshot failed: {error}")));
                }
                Some((Some(_), None)) => {
                    changes.push(("snapshot", "a snapshot was written".to_owned()));
                }
                _ => {}
            }
        }
        if (self.health, &self.panels) != (later.health, &later.panels) {
            let word = later.health.name();
            let first = later.first.as_ref();
            let text = first.map_or_else(|| word.to_owned(), |first| format!("{word}: {first}"));
            changes.push(("health", text));
        }
        // Reasons may contain what policies and servers say.
        changes.into_iter().map(|(kind, text)| (kind, cut(text))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked() -> Looked {
        Looked {
            policies: [("jwt".to_owned(), "ready")].into(),
            data: [(("jwt".to_owned(), "jwks".to_owned()), (1, 1))].into(),
            snapshot: Some((None, None)),
            ..Looked::default()
        }
    }

    #[test]
    fn each_change_is_told_once_in_a_sentence() {
        let before = looked();
        assert_eq!(before.changes(&before), []);
        let mut later = looked();
        later.policies.insert("jwt".into(), "failed");
        later.policies.insert("clients".into(), "ready");
        later.data.insert(("jwt".into(), "jwks".into()), (2, 7));
        later.snapshot = Some((Some(1), None));
        later.certificates.push(ShownCertificate {
            listener: "[::]:443".into(),
            file: "a.pem".into(),
            names: vec![],
            end: 2,
            read: 1,
        });
        (later.health, later.panels) = (Word::NotReady, vec!["policies"]);
        later.first = Some("the policy `jwt` has failed".into());
        let changes = [
            ("policy", "the policy `jwt` has failed"),
            ("list", "the data `jwks` of `jwt`: version 2, 7 entries"),
            ("certificate", "a.pem of [::]:443 was read"),
            ("snapshot", "a snapshot was written"),
            ("health", "not ready: the policy `jwt` has failed"),
        ];
        assert_eq!(before.changes(&later), changes.map(|(kind, text)| (kind, text.to_owned())));
        assert_eq!(later.changes(&later), []);
    }

    #[test]
    fn a_number_in_a_reason_is_no_change_of_the_health() {
        let at = |first: &str| Looked {
            health: Word::Look,
            panels: vec!["machine"],
            first: Some(first.into()),
            ..Looked::default()
        };
        assert_eq!(at("40 min old").changes(&at("41 min old")), []);
    }
}
