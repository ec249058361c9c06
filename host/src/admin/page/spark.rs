//! A line of recent values, as SVG in the page.

use std::fmt::Write as _;

use super::number;

/// The width and height of the drawing, in its own units.
const SIZE: (f64, f64) = (240.0, 40.0);

/// Draws values that are equally far apart, the oldest first, with gaps where there are none. Its values go
/// with it, so that a script can add to them.
///
/// `name` says what they are and `span` of how long, for those who do not see the line; `written`, how they
/// are written.
pub fn line(name: &str, span: &str, written: &str, values: &[Option<f64>]) -> String {
    // One value alone is a level line.
    let twice;
    let drawn = match values {
        [only] => {
            twice = [*only, *only];
            &twice
        }
        _ => values,
    };
    let known = || values.iter().flatten().copied();
    let highest = known().fold(0.0, f64::max);
    let lowest = known().fold(highest, f64::min);
    let (low, high) = (number::written(written, lowest), number::written(written, highest));
    let (width, height) = SIZE;
    let step = width / drawn.len().saturating_sub(1).max(1) as f64;
    let place = |(at, value): (usize, &Option<f64>)| {
        let share = if highest > 0.0 { (*value)? / highest } else { (*value)? * 0.0 };
        // Half a line is left free, so that none of it is cut off.
        Some((at as f64 * step, height - 1.0 - share * (height - 2.0)))
    };
    let places: Vec<_> = drawn.iter().enumerate().map(place).collect();
    let (mut line, mut area) = (String::new(), String::new());
    for run in places.split(Option::is_none) {
        let (Some(Some((first, _))), Some(Some((last, _)))) = (run.first(), run.last()) else {
            continue;
        };
        let points: Vec<_> = run.iter().flatten().map(|(x, y)| format!("{x:.0},{y:.1}")).collect();
        let (begin, points) = (&points[0], points.join(" "));
        let _ = write!(line, "M{begin} L{points} ");
        let _ = write!(area, "M{first:.0},{height} L{points} {last:.0},{height}Z ");
    }
    let listed = values.iter().map(|value| value.map_or("-".to_owned(), |value| value.to_string()));
    let listed: Vec<_> = listed.collect();
    let (line, area, listed) = (line.trim_end(), area.trim_end(), listed.join(" "));
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{name}, {span}: {low} to {high}\" data-values=\"{listed}\">\
         <path class=\"area\" d=\"{area}\"/><path class=\"line\" d=\"{line}\"/></svg>"
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
        let values = [0.0, 5.0, 10.0].map(Some);
        let drawn = line("requests a second", "10 minutes", "rate", &values);
        assert!(drawn.contains("d=\"M0,39.0 L0,39.0 120,20.0 240,1.0\""), "{drawn}");
        assert!(drawn.contains("d=\"M0,40 L0,39.0 120,20.0 240,1.0 240,40Z\""), "{drawn}");
        assert!(drawn.contains("requests a second, 10 minutes: 0 to 10"), "{drawn}");
        let level = line("peers", "10 minutes", "count", &[Some(7.0)]);
        assert!(level.contains("L0,1.0 240,1.0\"") && level.contains("values=\"7\""), "{level}");
        for few in [&[][..], &[Some(0.0)], &[Some(3.0)], &[None], &[None, None]] {
            let drawn = line("peers", "10 minutes", "count", few);
            assert!(!drawn.contains("NaN"), "{drawn}");
        }
    }

    #[test]
    fn where_there_is_no_value_there_is_no_line() {
        let values = [None, Some(1.0), Some(1.0), None, Some(2.0)];
        let drawn = line("p99", "10 minutes", "count", &values);
        assert!(drawn.contains("d=\"M60,20.0 L60,20.0 120,20.0 M240,1.0 L240,1.0\""), "{drawn}");
        assert!(drawn.contains("values=\"- 1 1 - 2\""), "{drawn}");
    }

    #[test]
    fn parts_add_up() {
        let drawn = bar("verdicts", &[(3, "next"), (1, "reject")]);
        assert!(drawn.contains("x=\"75.00\" width=\"25.00\""), "{drawn}");
        assert!(!bar("verdicts", &[(0, "next")]).contains("NaN"));
    }
}
