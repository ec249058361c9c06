//! A line of recent values, as SVG in the page.

use std::fmt::Write as _;

use super::number;

/// The width and height of the drawing, in its own units.
const SIZE: (f64, f64) = (240.0, 40.0);

/// Draws values that are equally far apart, the oldest first. Its values go with it, so that a script
/// can add to them.
///
/// `name` says what they are and `span` of how long, for those who do not see the line; `written`, how they
/// are written.
pub fn line(name: &str, span: &str, written: &str, values: &[f64]) -> String {
    // One value alone is a level line.
    let twice;
    let drawn: &[f64] = match values {
        [only] => {
            twice = [*only, *only];
            &twice
        }
        _ => values,
    };
    let highest = values.iter().copied().fold(0.0, f64::max);
    let lowest = values.iter().copied().fold(highest, f64::min);
    let (low, high) = (number::written(written, lowest), number::written(written, highest));
    let mut points = String::new();
    let mut listed = String::new();
    let step = SIZE.0 / drawn.len().saturating_sub(1).max(1) as f64;
    for (at, value) in drawn.iter().enumerate() {
        let height = if highest > 0.0 { value / highest } else { 0.0 };
        // Half a line is left free, so that none of it is cut off.
        let y = SIZE.1 - 1.0 - height * (SIZE.1 - 2.0);
        let _ = write!(points, "{:.0},{y:.1} ", at as f64 * step);
    }
    for value in values {
        let _ = write!(listed, "{value} ");
    }
    let (points, listed) = (points.trim_end(), listed.trim_end());
    let (width, height) = SIZE;
    let area = if points.is_empty() {
        String::new()
    } else {
        format!("0,{height} {points} {width},{height}")
    };
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{name}, {span}: {low} to {high}\" data-values=\"{listed}\">\
         <polygon class=\"area\" points=\"{area}\"/><polyline class=\"line\" points=\"{points}\"/></svg>"
    )
}

/// A part of a whole in a [`bar`]: how much, and the style of its colour.
pub type Part = (u64, &'static str);

/// Draws the parts of a whole side by side.
pub fn bar(name: &str, parts: &[Part]) -> String {
    let whole = parts.iter().map(|(part, _)| part).sum::<u64>().max(1) as f64;
    let mut drawn = String::new();
    let mut from = 0.0;
    for (part, style) in parts {
        let width = *part as f64 / whole * 100.0;
        let _ = write!(
            drawn,
            "<rect class=\"fill-{style}\" x=\"{from:.2}\" width=\"{width:.2}\" height=\"10\"/>"
        );
        from += width;
    }
    format!(
        "<svg class=\"share\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{name}\">{drawn}</svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fills_the_drawing() {
        let drawn = line("requests a second", "10 minutes", "rate", &[0.0, 5.0, 10.0]);
        assert!(drawn.contains("points=\"0,39.0 120,20.0 240,1.0\""), "{drawn}");
        assert!(drawn.contains("requests a second, 10 minutes: 0 to 10"), "{drawn}");
        let level = line("peers", "10 minutes", "count", &[7.0]);
        assert!(
            level.contains("points=\"0,1.0 240,1.0\"") && level.contains("values=\"7\""),
            "{level}"
        );
        for few in [&[][..], &[0.0], &[3.0]] {
            assert!(!line("peers", "10 minutes", "count", few).contains("NaN"));
        }
    }

    #[test]
    fn parts_add_up() {
        let drawn = bar("verdicts", &[(3, "next"), (1, "reject")]);
        assert!(drawn.contains("x=\"75.00\" width=\"25.00\""), "{drawn}");
        assert!(!bar("verdicts", &[(0, "next")]).contains("NaN"));
    }
}
