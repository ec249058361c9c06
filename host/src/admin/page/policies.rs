//! Policies: the chain, in the order in which it is called.

use askama::Template;
use serde_json::Value;
use tracing::Level;

use super::live::{Columns, Figure};
use super::log::level;
use super::{number, spark};
use crate::admin::Admin;
use crate::admin::facts::{Facts, PolicyStatus};
use crate::config::ShownConfig;
use crate::log;

#[derive(Template)]
#[template(path = "policies.html")]
pub struct Policies<'a> {
    links: Vec<Link<'a>>,
    now: u64,
}

/// A policy in the chain.
struct Link<'a> {
    policy: &'a PolicyStatus,
    figures: Vec<Shown>,
    /// The last 10 minutes.
    series: Vec<Drawn>,
    /// What became of what it was asked, within 10 minutes.
    passed: f64,
    refused: f64,
    /// Only in shadow mode.
    changed: f64,
    failed: f64,
    /// Its key `config`, without secrets.
    config: String,
    /// How it failed. These two: the newest first.
    failures: Vec<log::LastLine>,
    lines: Vec<log::LastLine>,
}

/// A number of the last second with a line.
struct Drawn {
    shown: Shown,
    line: Vec<Option<f64>>,
}

/// A number of the last second.
struct Shown {
    name: &'static str,
    unit: &'static str,
    of: String,
    per: String,
    written: &'static str,
    now: Option<f64>,
}

/// How many lines of its log are shown, and how many of its failures.
const LINES: usize = 20;
const FAILURES: usize = 5;
/// What is drawn of a policy: its name and unit, the series, and how it is written.
const DRAWN: [(&str, &str, &str, &str); 5] = [
    ("asked", "/s", "calls", "rate"),
    ("refused", "/s", "refused", "rate"),
    ("errors", "/s", "errors", "rate"),
    ("p99", "", "p99", "seconds"),
    ("of the workers’ busy time", "", "busy", "percent"),
];

impl<'a> Policies<'a> {
    pub fn of(admin: &Admin, facts: &'a Facts, recent: &Columns, now: u64) -> Self {
        let (config, _) = admin.reloads.config();
        let shown = ShownConfig::of(&config).map(|shown| shown.config).unwrap_or_default();
        let own = log::last(log::MOST_LAST, Level::TRACE, Some("plugin"));
        let failures = log::last(log::MOST_LAST, Level::WARN, Some("karuta"));
        let link = |policy: &'a PolicyStatus| {
            let name = &policy.name;
            let sum = |what: &str| recent.sum(&format!("policies.{name}.{what}"));
            let is_obeyed = policy.mode != "shadow";
            let (calls, failed) = (sum("calls"), sum("errors"));
            let refused = sum(refused_by(policy));
            let changed = if is_obeyed { 0.0 } else { sum("would_change") };
            // What a plugin says comes before the field, which only the host writes.
            let mark = format!(" policy=\"{name}\"");
            let of_policy = own.iter().rev().filter(|line| line.text.ends_with(&mark));
            let failed_lines = failures.iter().rev().filter(|line| is_about(&line.text, name));
            Link {
                policy,
                figures: figures(policy, recent),
                series: series(policy, recent),
                passed: (calls - refused - changed).max(0.0),
                refused,
                changed,
                failed,
                config: config_of(&shown, name),
                failures: failed_lines.take(FAILURES).cloned().collect(),
                lines: of_policy.take(LINES).cloned().collect(),
            }
        };
        Self { links: facts.policies.iter().map(link).collect(), now }
    }
}

/// Returns the series of what a policy refuses, or would refuse.
fn refused_by(policy: &PolicyStatus) -> &'static str {
    if policy.mode == "shadow" { "would_refuse" } else { "refused" }
}

fn figures(policy: &PolicyStatus, recent: &Columns) -> Vec<Shown> {
    let name = &policy.name;
    let wanted = [
        ("asked", "/s", "calls", "", "rate"),
        ("refused", "", refused_by(policy), "calls", "percent"),
        ("errors", "/s", "errors", "", "rate"),
        ("remembered", "", "remembered", "calls", "percent"),
        ("p50", "", "p50", "", "seconds"),
        ("p99", "", "p99", "", "seconds"),
        ("would differ", "/s", "shadow", "", "rate"),
    ];
    let wanted =
        wanted.into_iter().filter(|(.., of, _, _)| *of != "shadow" || policy.mode == "shadow");
    let shown = wanted.map(|(what, unit, of, per, written)| {
        let series = |of: &str| match of {
            "" => String::new(),
            of => format!("policies.{name}.{of}"),
        };
        let (of, per) = (series(of), series(per));
        let now = recent.now(Figure { of: &of, per: &per });
        Shown { name: what, unit, of, per, written, now }
    });
    shown.collect()
}

fn series(policy: &PolicyStatus, recent: &Columns) -> Vec<Drawn> {
    let drawn = DRAWN.map(|(name, unit, of, written)| {
        let of = if of == "refused" { refused_by(policy) } else { of };
        let of = format!("policies.{}.{of}", policy.name);
        let figure = Figure { of: &of, per: "" };
        let (now, line) = (recent.now(figure), recent.line(figure));
        let shown = Shown { name, unit, per: String::new(), written, now, of };
        Drawn { shown, line }
    });
    drawn.into()
}

/// Returns whether a line of the host is about a policy.
fn is_about(text: &str, policy: &str) -> bool {
    let named = text.split_once(" policy=\"").and_then(|(_, rest)| rest.strip_prefix(policy));
    named.is_some_and(|rest| rest.starts_with('"'))
}

/// Returns a line of the log as the lines that its values had, such as a backtrace.
fn unfolded(text: &str) -> std::str::Split<'_, &'static str> {
    text.split("\\n")
}

impl Drawn {
    fn line(&self) -> String {
        let name = format!("{} {}", self.shown.name, self.shown.unit);
        spark::line(name.trim_end(), "10 minutes", self.shown.written, &self.line)
    }
}

impl Shown {
    fn value(&self) -> String {
        self.now.map_or_else(|| "–".to_owned(), |now| number::written(self.written, now))
    }
}

impl Link<'_> {
    /// Returns how it is, in a word.
    fn state(&self) -> &'static str {
        match self.policy.state {
            "ready" if self.policy.data.iter().any(|data| data.is_missing) => "waits for data",
            state => state,
        }
    }

    fn tone(&self) -> &'static str {
        match self.state() {
            "ready" => "ok",
            "failed" => "bad",
            _ => "look",
        }
    }

    fn bar(&self) -> String {
        let counts = [
            (self.passed, "next"),
            (self.refused, "reject"),
            (self.changed, "drop"),
            (self.failed, "error"),
        ];
        let parts = counts.map(|(count, style)| (count.round() as u64, style));
        let name = format!("within 10 minutes: {}", self.verdicts());
        spark::bar(&name, &parts)
    }

    /// Says what the bar shows.
    fn verdicts(&self) -> String {
        let [passed, refused, changed, failed] =
            [self.passed, self.refused, self.changed, self.failed]
                .map(|count| count.round() as u64);
        let would = if self.policy.mode == "shadow" { "would be " } else { "" };
        let mut said =
            format!("{} passed, {} {would}refused", number::count(passed), number::count(refused));
        if changed > 0 {
            said.push_str(&format!(", {} would be changed", number::count(changed)));
        }
        if failed > 0 {
            said.push_str(&format!(", {} failed", number::count(failed)));
        }
        said
    }
}

fn config_of(shown: &Value, name: &str) -> String {
    let policies = shown["policies"].as_array().into_iter().flatten();
    let config = policies.filter(|policy| policy["name"] == name).map(|policy| &policy["config"]);
    config.map(|config| format!("{config:#}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_about_the_policy_in_its_field() {
        let text = r#"policy failed policy="jwt" cause="trap" detail="a policy=\"b\"\n  0: c""#;
        assert!(is_about(text, "jwt"));
        assert!(!is_about(text, "jw") && !is_about(text, "b") && !is_about("started", "jwt"));
        assert_eq!(unfolded(text).last(), Some("  0: c\""));
    }
}
