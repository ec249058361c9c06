//! Prints measurements as Markdown tables and as bars.

use std::fmt::Write as _;

use super::Measured;
use crate::tally::{Report, Server};

/// The medians of one server in one case.
pub struct Row {
    server: String,
    cpu: f64,
    /// The CPU time of Karuta without policies relative to this server's, round by round.
    ours: f64,
    /// The CPU time that this server adds to the same server with its plainest settings.
    added: Option<f64>,
    per_second: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    switches: f64,
    mebibytes: f64,
    /// The wrong and missing answers of all rounds.
    faults: u64,
}

impl Row {
    /// Returns whether it is a server with more to do than the one it is compared with.
    pub fn is_setting(&self) -> bool {
        self.added.is_some()
    }
}

/// What was measured in turns, one way and the other.
pub struct Turns {
    pub name: String,
    pub one: Vec<f64>,
    pub other: Vec<f64>,
}

impl Turns {
    pub fn new(name: String) -> Self {
        Self { name, one: Vec::new(), other: Vec::new() }
    }
}

/// Returns a table of medians of both ways, of the ratios of turns that follow each other, and of the ratio
/// of the lower quartiles: of the turns in which the machine interrupted least.
pub fn turns([title, one, other, ratio]: [&str; 4], rows: &mut [Turns]) -> String {
    let mut table = format!(
        "| {title} | {one} | {other} | {ratio} | quartiles | of lower quartiles |\n|---|---|---|---|---|---|\n"
    );
    for Turns { name, one, other } in rows {
        let pairs = one.iter().zip(&*other);
        let mut ratios: Vec<f64> = pairs.map(|(one, other)| other / one).collect();
        let [best, other_best] = [&mut *one, other].map(|values| quantile(values, 0.25));
        let [one, other] = [one, other].map(|values| quantile(values, 0.5));
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(&mut ratios, share));
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {name} | {one:.2} | {other:.2} | {middle:.3} | {low:.3} to {high:.3} | {:.3} |",
            other_best / best
        );
    }
    table
}

/// Returns the value below which this share of the values lies.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = share * values.len().saturating_sub(1) as f64;
    values.get(at.round() as usize).copied().unwrap_or(f64::NAN)
}

/// Returns the servers of a case, in the order of measurement.
pub fn rows(all: &[Measured], case: &str) -> Vec<Row> {
    let of_case: Vec<_> = all.iter().filter(|one| one.case == case).collect();
    let first_round = of_case.iter().filter(|one| one.round == 1);
    let cpu = |report: &Report| report.server.as_ref().map_or(f64::NAN, |s| s.cpu_us_per_request);
    let rows = first_round.map(|first| {
        let of_server: Vec<_> =
            of_case.iter().filter(|one| one.name == first.name).map(|one| &one.report).collect();
        // A machine that is slow for a while is slow for both.
        let paired = |name: &str, of: fn(f64, f64) -> f64| {
            let mut values = Vec::new();
            for one in of_case.iter().filter(|one| one.name == first.name) {
                let mut round = of_case.iter().filter(|other| other.round == one.round);
                let other = round.find(|other| other.name == name);
                values.extend(other.map(|other| of(cpu(&other.report), cpu(&one.report))));
            }
            median(&mut values)
        };
        let median = |value: &dyn Fn(&Report) -> f64| {
            median(&mut of_server.iter().map(|report| value(report)).collect::<Vec<_>>())
        };
        let server = |value: fn(&Server) -> f64| {
            median(&|report: &Report| report.server.as_ref().map_or(f64::NAN, value))
        };
        Row {
            server: first.name.clone(),
            cpu: median(&cpu),
            ours: paired("Karuta", |ours, its| ours / its),
            added: plainest(&first.name)
                .map(|plainest| paired(plainest, |without, with| with - without)),
            per_second: median(&|report| report.per_second),
            p50: median(&|report| report.latency_us.p50),
            p99: median(&|report| report.latency_us.p99),
            p999: median(&|report| report.latency_us.p999),
            switches: server(|server| server.switches_per_request),
            mebibytes: server(|server| server.resident_bytes as f64) / f64::from(1 << 20),
            faults: of_server.iter().map(|r| r.lost + r.wrong.values().sum::<u64>()).sum(),
        }
    });
    rows.collect()
}

pub fn table(case: &str, rows: &[Row]) -> String {
    let mut table = format!(
        "| {case} | CPU µs | Karuta's to it | added µs | a second | p50 µs | p99 µs | p99.9 µs | \
         switches | MiB | faults |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let added = row.added.map(|added| cell(added, 2)).unwrap_or_default();
        let [cpu, ours] = [row.cpu, row.ours].map(|value| cell(value, 2));
        let switches = cell(row.switches, 3);
        let Row { server, per_second, p50, p99, p999, mebibytes, faults, .. } = row;
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {server} | {cpu} | {ours} | {added} | {per_second:.0} | {p50:.0} | {p99:.0} | \
             {p999:.0} | {switches} | {mebibytes:.0} | {faults} |",
        );
    }
    table
}

/// Returns a table of what each setting of Karuta adds to a request, over UDP and over HTTP, and in
/// relation to the same request without it.
pub fn added(udp: &[Row], http: &[Row]) -> String {
    let mut table = "| added by | UDP µs | × | HTTP µs | × |\n|---|---|---|---|---|\n".to_owned();
    for row in udp.iter().filter(|row| row.is_setting()) {
        let over_http = http.iter().find(|other| other.server == row.server);
        let cells = [Some(row), over_http].map(|row| {
            let added = row.and_then(|row| row.added).unwrap_or(f64::NAN);
            let times = row.map_or(f64::NAN, |row| 1.0 / row.ours);
            format!("{} | {}", cell(added, 2), cell(times, 2))
        });
        let name = row.server.trim_start_matches("Karuta, ");
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    }
    table
}

/// Returns the server that this one is compared with: the same one with less to do.
fn plainest(server: &str) -> Option<&'static str> {
    ["Karuta", "bare hyper"].into_iter().find(|plainest| {
        server.strip_prefix(plainest).is_some_and(|setting| setting.starts_with(','))
    })
}

/// Formats a number. A server that answered nothing has none.
fn cell(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "–".to_owned() }
}

/// Draws the CPU time per request as bars, in SVG.
pub fn plot(case: &str, rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.cpu).fold(0.0, f64::max);
    let height = 50 + 24 * rows.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"15\">{case}: µs of CPU a request</text>\n"
    );
    for (at, row) in rows.iter().enumerate() {
        let (y, width) = (42 + 24 * at, 400.0 * row.cpu / most);
        let color = if row.server.starts_with("Karuta") { "#b5452c" } else { "#7a8894" };
        let _ = writeln!(
            svg,
            "<text x=\"230\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"240\" y=\"{y}\" width=\"{width:.1}\" height=\"17\" fill=\"{color}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.2}</text>",
            y + 13,
            row.server,
            246.0 + width,
            y + 13,
            row.cpu,
        );
    }
    svg + "</svg>\n"
}

/// Returns the middle value, or the mean of the two middle ones.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values {
        [] => f64::NAN,
        _ => f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_left_out() {
        assert_eq!([cell(1.256, 2), cell(f64::NAN, 2), cell(1.0 / 0.0, 3)], ["1.26", "–", "–"]);
    }

    #[test]
    fn ratios_are_of_turns_that_follow_each_other() {
        let row =
            Turns { name: "UDP".to_owned(), one: vec![1.0, 2.0, 10.0], other: vec![2.0, 4.0, 5.0] };
        let table = turns(["", "", "", ""], &mut [row]);
        assert!(
            table.ends_with("| UDP | 2.00 | 4.00 | 2.000 | 2.000 to 2.000 | 2.000 |\n"),
            "{table}"
        );
        assert!(quantile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }
}
