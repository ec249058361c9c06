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
    /// What became of what it was asked, within 10 minutes.
    passed: f64,
    refused: f64,
    failed: f64,
    /// Its key `config`, without secrets.
    config: String,
    /// The newest first.
    lines: Vec<log::LastLine>,
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

/// How many lines of its log are shown.
const LINES: usize = 20;

impl<'a> Policies<'a> {
    pub fn of(admin: &Admin, facts: &'a Facts, recent: &Columns, now: u64) -> Self {
        let (config, _) = admin.reloads.config();
        let shown = ShownConfig::of(&config).map(|shown| shown.config).unwrap_or_default();
        let lines = log::last(log::MOST_LAST, Level::TRACE);
        let link = |policy: &'a PolicyStatus| {
            let name = &policy.name;
            let sum = |what: &str| recent.sum(&format!("policies.{name}.{what}"));
            let (calls, refused, failed) = (sum("calls"), sum("refused"), sum("errors"));
            let mark = format!("policy={name}");
            let of_policy = lines.iter().rev().filter(|line| {
                line.target == "plugin" && line.text.split(' ').any(|word| word == mark)
            });
            Link {
                policy,
                figures: figures(policy, recent),
                passed: (calls - refused).max(0.0),
                refused,
                failed,
                config: config_of(&shown, name),
                lines: of_policy.take(LINES).cloned().collect(),
            }
        };
        Self { links: facts.policies.iter().map(link).collect(), now }
    }
}

fn figures(policy: &PolicyStatus, recent: &Columns) -> Vec<Shown> {
    let name = &policy.name;
    let wanted = [
        ("asked", "/s", "calls", "", "rate"),
        ("refused", "", "refused", "calls", "percent"),
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
        let counts = [(self.passed, "next"), (self.refused, "reject"), (self.failed, "error")];
        let parts = counts.map(|(count, style)| (count.round() as u64, style));
        let name = format!("within 10 minutes: {}", self.verdicts());
        spark::bar(&name, &parts)
    }

    /// Says what the bar shows.
    fn verdicts(&self) -> String {
        let [passed, refused, failed] =
            [self.passed, self.refused, self.failed].map(|count| count.round() as u64);
        let would = if self.policy.mode == "shadow" { "would be " } else { "" };
        let mut said =
            format!("{} passed, {} {would}refused", number::count(passed), number::count(refused));
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
