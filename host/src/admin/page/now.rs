//! Now: what the tracker is doing, and has been doing.

use askama::Template;

use super::live::{Columns, Figure};
use super::{number, spark};
use crate::admin::Admin;
use crate::history::Span;

#[derive(Template)]
#[template(path = "now.html")]
pub struct Now {
    tiles: Vec<Tile>,
    /// By transport: the name and the rate of each outcome.
    rows: Vec<(&'static str, Vec<(String, f64)>)>,
    /// Every 10 minutes: the time, and the values of all charts.
    hours: Vec<(u64, Vec<String>)>,
}

/// A number with its recent history.
struct Tile {
    name: &'static str,
    unit: &'static str,
    figure: Figure<'static>,
    /// How it is written: `rate`, `count`, `percent` or `seconds`.
    written: &'static str,
    now: Option<f64>,
    line: Vec<Option<f64>>,
}

/// A chart of six hours.
struct Chart {
    name: &'static str,
    written: &'static str,
    /// Each with its label.
    series: &'static [(&'static str, &'static str)],
}

/// What a tile shows: its name, its unit, its figure, and how it is written.
const TILES: [(&str, &str, Figure<'_>, &str); 6] = [
    ("Requests", "/s", Figure { of: "requests.*.*", per: "" }, "rate"),
    ("Answered", "", Figure { of: "requests.*.ok", per: "requests.*.*" }, "percent"),
    ("Latency, p99", "", Figure { of: "latency.p99", per: "" }, "seconds"),
    ("Peers", "", Figure { of: "peers.*.*", per: "" }, "count"),
    ("Swarms", "", Figure { of: "swarms", per: "" }, "count"),
    ("Workers busy", "", Figure { of: "busy", per: "" }, "percent"),
];

const OUTCOMES: [&str; 5] = ["ok", "rejected", "dropped", "invalid", "error"];

const CHARTS: [Chart; 4] = [
    Chart {
        name: "Requests a second",
        written: "rate",
        series: &[
            ("requests.*.ok", "ok"),
            ("requests.*.rejected", "rejected"),
            ("requests.*.dropped", "dropped"),
            ("requests.*.invalid", "invalid"),
        ],
    },
    Chart {
        name: "Latency",
        written: "seconds",
        series: &[("latency.p50", "p50"), ("latency.p99", "p99")],
    },
    Chart {
        name: "Peers",
        written: "count",
        series: &[("peers.*.seeders", "seeders"), ("peers.*.leechers", "leechers")],
    },
    Chart { name: "Memory", written: "bytes", series: &[("memory_bytes", "memory")] },
];

/// The colours that the script draws with: it reads them from the style of these.
const INKS: [&str; 6] = ["ok", "bad", "drop", "look", "soft", "line"];

/// Between two rows of the table, in seconds.
const ROW: u64 = 600;

impl Now {
    /// Shows the table of the last hours only if the page `is_whole`.
    pub fn of(admin: &Admin, recent: &Columns, is_whole: bool) -> Self {
        let tiles = TILES.map(|(name, unit, figure, written)| Tile {
            name,
            unit,
            figure,
            written,
            now: recent.now(figure),
            line: recent.line(figure),
        });
        let rows = ["udp", "http", "https"].map(|transport| {
            let rates = OUTCOMES.map(|outcome| {
                let name = format!("requests.{transport}.{outcome}");
                let rate = recent.now(Figure { of: &name, per: "" }).unwrap_or(0.0);
                (name, rate)
            });
            (transport, rates.into())
        });
        let hours = match is_whole {
            true => table(&Columns::of(admin, Span::Hours)),
            false => Vec::new(),
        };
        Self { tiles: tiles.into(), rows: rows.into(), hours }
    }
}

impl Tile {
    fn value(&self) -> String {
        self.now.map_or_else(|| "–".to_owned(), |now| number::written(self.written, now))
    }

    fn line(&self) -> String {
        spark::line(self.name, "10 minutes", self.written, &self.line)
    }
}

impl Chart {
    /// Returns its series for the script.
    fn lines(&self) -> String {
        let lines = self.series.iter().map(|(pattern, label)| format!("{label}={pattern}"));
        lines.collect::<Vec<_>>().join(";")
    }
}

/// Returns a row for every 10 minutes, the newest first.
fn table(hours: &Columns) -> Vec<(u64, Vec<String>)> {
    let series = CHARTS.iter().flat_map(|chart| {
        chart.series.iter().map(|(of, _)| (chart.written, hours.values(Figure { of, per: "" })))
    });
    let series: Vec<_> = series.collect();
    let mut last = 0;
    let mut rows = Vec::new();
    for (at, time) in hours.times().iter().enumerate() {
        if time / ROW == last / ROW {
            continue;
        }
        last = *time;
        let values = series.iter().map(|(written, values)| {
            let value = values.get(at).copied().flatten();
            value.map_or_else(String::new, |value| number::written(written, value))
        });
        rows.push((*time, values.collect()));
    }
    rows.reverse();
    rows
}
