//! Every query of the dashboard and of the rules, against a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use karuta_tests::{eventually, root};
use serde_json::Value;

use super::is_there;
use super::prometheus::Prometheus;
use super::tracker::Tracker;

const BOARD: &str = "deploy/grafana/karuta.json";
const RULES: &str = "deploy/prometheus/karuta.rules.yml";

/// Returns each panel's title with its queries, their variables filled in.
fn board() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join(BOARD)).expect("the dashboard");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let queries = panels.iter().filter(|panel| panel["type"] != "row").map(|panel| {
        let targets = panel["targets"].as_array().expect("targets");
        let queries = targets.iter().map(|target| {
            let query = target["expr"].as_str().expect("a query");
            let query = [
                ("$job", "karuta"),
                ("$instance", ".*"),
                ("$policy", ".*"),
                ("$__rate_interval", "10s"),
            ]
            .iter()
            .fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value));
            assert!(!query.contains('$'), "{query}");
            query
        });
        (panel["title"].as_str().expect("a title").to_owned(), queries.collect())
    });
    queries.collect()
}

#[test]
fn every_query_of_the_dashboard_and_the_rules_works() {
    if !is_there("prometheus") {
        return;
    }
    let tracker = Tracker::start();
    let prometheus = Prometheus::start(tracker.daemon.admin, &root().join(RULES));
    eventually("the first scrape", || {
        prometheus.query("karuta_build_info").is_ok_and(|samples| !samples.is_empty())
    });
    tracker.page();
    let board = board();
    assert!(board.len() > 20, "{}", board.len());
    for (title, queries) in &board {
        for query in queries {
            eventually(&format!("{title}: {query}"), || {
                tracker.load();
                !prometheus
                    .query(query)
                    .unwrap_or_else(|error| panic!("{title}: {query}: {error}"))
                    .is_empty()
            });
        }
    }
    let mut evaluated = Vec::new();
    eventually("every rule is evaluated", || {
        evaluated = prometheus.rules();
        !evaluated.is_empty() && evaluated.iter().all(|rule| rule["health"] != "unknown")
    });
    for rule in evaluated {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
}

/// Every panel has a title of its own and a place of its own.
#[test]
fn the_dashboard_is_laid_out() {
    let text = fs::read_to_string(root().join(BOARD)).expect("the dashboard");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    let (mut titles, mut ids, mut places) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in board["panels"].as_array().expect("panels") {
        let kind = panel["type"].as_str();
        let number = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(
            titles.insert((kind, panel["title"].as_str().expect("a title"))),
            "{}",
            panel["title"]
        );
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{}", panel["title"]);
        assert!(number("x") + number("w") <= 24, "{}", panel["title"]);
        for x in number("x")..number("x") + number("w") {
            for y in number("y")..number("y") + number("h") {
                assert!(places.insert((x, y)), "{} covers another panel", panel["title"]);
            }
        }
    }
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(root()).output();
    let output = output.expect("promtool runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn every_alert_fires_when_it_should() {
    if !is_there("promtool") {
        return;
    }
    promtool(&["check", "rules", RULES]);
    promtool(&["test", "rules", "tests/monitoring/alerts.yml"]);
    let tested = fs::read_to_string(root().join("tests/monitoring/alerts.yml")).expect("the tests");
    for alert in alerts("- alert: ") {
        assert!(tested.contains(&format!("alertname=\"{alert}\"")), "{alert} is not tested");
    }
}

/// Returns what follows a key in the rules.
fn alerts(key: &str) -> Vec<String> {
    let rules = fs::read_to_string(root().join(RULES)).expect("the rules");
    let lines = rules.lines().filter_map(|line| line.trim().strip_prefix(key));
    lines.map(|value| value.trim_matches('"').to_owned()).collect()
}

#[test]
fn every_alert_says_what_to_do() {
    let links = alerts("runbook_url: ");
    let count = alerts("- alert: ").len();
    for key in ["summary: ", "description: ", "labels: { severity: "] {
        assert_eq!(alerts(key).len(), count, "{key}");
    }
    assert_eq!(links.len(), count);
    for link in links {
        let (page, anchor) = link
            .strip_prefix("file:///usr/share/doc/karuta/")
            .and_then(|link| link.split_once('#'))
            .expect("a heading of the documentation");
        let page = fs::read_to_string(root().join("docs").join(page)).expect("the page");
        let headings = page.lines().filter(|line| line.starts_with('#'));
        let mut anchors = headings.map(|line| {
            let kept =
                |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            heading.chars().filter(kept).collect::<String>().replace(' ', "-")
        });
        assert!(anchors.any(|found| found == anchor), "{link}");
    }
}
