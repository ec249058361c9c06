//! Figures as SVG.

use std::fmt::Write;

use crate::clients::Traffic;
use crate::handed_out::HandedOut;

/// Pixels.
const CELL: usize = 26;
const MARGIN: usize = 70;

/// Draws who received how much from whom, one square per run. All use one colour scale.
pub fn traffic(runs: &[(&str, Traffic)]) -> String {
    let most = runs.iter().flat_map(|(_, traffic)| traffic.iter().flatten()).max();
    let racks = runs.first().map_or(0, |(_, traffic)| traffic.len());
    let most = most.copied().unwrap_or(0).max(1) as f64;
    let square = MARGIN + racks * CELL + 30;
    let mut body = String::new();
    for (at, (title, traffic)) in runs.iter().enumerate() {
        let left = at * square + MARGIN;
        text(&mut body, left, 24, "start", title);
        text(&mut body, left, 46, "start", "from outside, then from rack 1, 2, …");
        for (to, row) in traffic.iter().enumerate().skip(1) {
            let top = 30 + to * CELL;
            text(&mut body, left - 8, top + CELL - 8, "end", &format!("to rack {to}"));
            for (from, &bytes) in row.iter().enumerate() {
                let depth = (bytes as f64 / most).sqrt();
                let part = |light: f64, dark: f64| (light + (dark - light) * depth) as u8;
                let colour = (part(245.0, 8.0), part(248.0, 64.0), part(252.0, 129.0));
                let (x, width) = (left + from * CELL, CELL - 2);
                let hint = format!("{:.1} MB from {from} to {to}", bytes as f64 / 1e6);
                let _ = writeln!(
                    body,
                    "<rect x='{x}' y='{top}' width='{width}' height='{width}' \
                     fill='rgb{colour:?}'><title>{hint}</title></rect>"
                );
            }
        }
    }
    svg(runs.len() * square, 30 + racks * CELL + 20, &body)
}

/// Draws how much had crossed racks at each second, one line per run.
pub fn over_time(runs: &[(String, Vec<(f64, u64)>)]) -> String {
    const LEFT: f64 = 60.0;
    const WIDTH: f64 = 520.0;
    const HEIGHT: f64 = 300.0;
    let colours = ["#7f7f7f", "#5aa2cf", "#d95f02", "#084081"];
    let last = |of: fn(&(f64, u64)) -> f64| {
        runs.iter().filter_map(|(_, points)| points.last()).map(of).fold(1.0, f64::max)
    };
    let (end, most) = (last(|point| point.0), last(|point| point.1 as f64));
    let mut body = String::new();
    for (at, (name, points)) in runs.iter().enumerate() {
        let colour = colours[at % colours.len()];
        let dash = if at < colours.len() { "none" } else { "6 4" };
        let line: Vec<_> = points
            .iter()
            .map(|(second, bytes)| {
                let y = 20.0 + HEIGHT * (1.0 - *bytes as f64 / most);
                format!("{:.1},{y:.1}", LEFT + WIDTH * second / end)
            })
            .collect();
        let _ = writeln!(
            body,
            "<polyline fill='none' stroke='{colour}' stroke-width='2' stroke-dasharray='{dash}' \
             points='{}'/>",
            line.join(" ")
        );
        let (x, y) = ((LEFT + WIDTH) as usize + 20, 30 + 22 * at);
        let _ = writeln!(
            body,
            "<line x1='{x}' x2='{}' y1='{y}' y2='{y}' stroke='{colour}' stroke-width='2' \
             stroke-dasharray='{dash}'/>",
            x + 30
        );
        text(&mut body, x + 36, y + 5, "start", name);
    }
    let bottom = 20 + HEIGHT as usize;
    text(&mut body, LEFT as usize - 6, 25, "end", &format!("{:.0} MB", most / 1e6));
    text(&mut body, LEFT as usize - 6, bottom, "end", "0");
    text(&mut body, LEFT as usize, bottom + 18, "middle", "0 s");
    text(&mut body, (LEFT + WIDTH) as usize, bottom + 18, "middle", &format!("{end:.0} s"));
    svg((LEFT + WIDTH) as usize + 260, bottom + 30, &body)
}

/// Draws where the peers of answers were, one bar per run.
pub fn shares(runs: &[(String, HandedOut)]) -> String {
    const LEFT: usize = 300;
    const WIDTH: usize = 420;
    let colours = ["#084081", "#5aa2cf", "#d5e3ee"];
    let mut body = String::new();
    for ((name, colour), x) in
        ["same rack", "same row", "elsewhere"].iter().zip(colours).zip([0, 110, 220])
    {
        let x = LEFT + x;
        let _ = writeln!(body, "<rect x='{x}' y='12' width='14' height='14' fill='{colour}'/>");
        text(&mut body, x + 20, 24, "start", name);
    }
    for (at, (name, run)) in runs.iter().enumerate() {
        let top = 42 + at * 28;
        text(&mut body, LEFT - 10, top + 15, "end", name);
        let mut x = LEFT as f64;
        for (count, colour) in [run.rack, run.row, run.elsewhere].iter().zip(colours) {
            let width = WIDTH as f64 * *count as f64 / run.all().max(1) as f64;
            let _ = writeln!(
                body,
                "<rect x='{x:.1}' y='{top}' width='{width:.1}' height='20' fill='{colour}'/>"
            );
            x += width;
        }
        let parts = match run.components {
            1 => "one part".to_owned(),
            parts => format!("{parts} parts"),
        };
        text(&mut body, LEFT + WIDTH + 10, top + 15, "start", &parts);
    }
    svg(LEFT + WIDTH + 100, 42 + runs.len() * 28 + 10, &body)
}

fn text(body: &mut String, x: usize, y: usize, anchor: &str, text: &str) {
    let _ = writeln!(body, "<text x='{x}' y='{y}' text-anchor='{anchor}'>{text}</text>");
}

fn svg(width: usize, height: usize, body: &str) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' \
         font-family='sans-serif' font-size='13'>\n\
         <rect width='{width}' height='{height}' fill='white'/>\n{body}</svg>\n"
    )
}
