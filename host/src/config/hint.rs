//! Hints for common mistakes that are not valid YAML, shown instead of the parser's message.

use super::position::Position;

/// The most bytes of a line that are examined.
const LOOKED_AT: usize = 1000;

/// Returns a hint for the line where parsing failed.
pub(super) fn near(
    text: &str,
    Position { line, .. }: Position,
) -> Option<(Position, &'static str)> {
    let text = text.lines().nth(line.checked_sub(1)?)?;
    let (column, hint) = in_line(&text[..text.floor_char_boundary(LOOKED_AT)])?;
    Some((Position { line, column }, hint))
}

/// Returns the column, counted from 1, and the hint.
fn in_line(line: &str) -> Option<(usize, &'static str)> {
    let text = line.trim_start_matches([' ', '\t']);
    let indentation = &line[..line.len() - text.len()];
    if let Some(tab) = indentation.find('\t') {
        return Some((tab + 1, "a tab, expected spaces"));
    }
    let mut quote = None;
    for (at, letter) in line.char_indices().skip(indentation.len()) {
        match quote {
            Some(open) if open == letter => quote = None,
            Some(_) => {}
            None if letter == '#' && !line[..at].ends_with(|c: char| !c.is_whitespace()) => {
                return None;
            }
            None if begins_value(&line[..at]) => {
                if let Some(hint) = of_value(&line[at..]) {
                    return Some((line[..at].chars().count() + 1, hint));
                }
                quote = Some(letter).filter(|letter| matches!(letter, '"' | '\''));
            }
            None => {}
        }
    }
    None
}

/// Returns whether a value or a key begins after this part of a line.
fn begins_value(before: &str) -> bool {
    let bare = before.trim_end();
    let has_blank = bare.len() < before.len();
    bare.is_empty() || bare.ends_with(['[', '{', ',']) || (has_blank && bare.ends_with([':', '-']))
}

/// Returns what YAML mistakes this value for.
fn of_value(rest: &str) -> Option<&'static str> {
    let is_address = |text: &str| {
        let of_address = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '/');
        text.matches(':').count() >= 2 && text.chars().all(of_address)
    };
    let word = rest.split([' ', ',', ']', '}']).next().unwrap_or_default();
    match rest.chars().next()? {
        '@' => Some("a value cannot begin with `@`, expected quotes around it"),
        '`' => Some("a value cannot begin with a backtick, expected quotes around it"),
        '%' => Some("a value cannot begin with `%`, expected quotes around it"),
        '*' if !rest[1..].starts_with(char::is_alphanumeric) => {
            Some("`*` begins an alias, expected quotes around the text")
        }
        '"' if rest.contains('\\') => {
            Some("a backslash in double quotes, expected single quotes around the text")
        }
        '[' => {
            let (inside, after) = rest[1..].split_once(']')?;
            let is_port = after.starts_with(':');
            (is_address(inside) && is_port).then_some(
                "an address in brackets is a list, expected quotes around it, such as \"[::]:6969\"",
            )
        }
        _ => is_address(word)
            .then_some("an unquoted IPv6 address, expected quotes around it, such as \"::1\""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hinted(line: &str) -> Option<usize> {
        in_line(line).map(|(column, _)| column)
    }

    #[test]
    fn the_first_value_that_wants_quotes_is_found() {
        for (line, column) in [
            ("  - listen: [::]:6969", 13),
            ("a: [x, \"[::]:1\", [::1]:80]", 18),
            ("a: ['@b', @c]", 11),
            ("ü: @b", 4),
            ("- *", 3),
            ("a: { b: ::1 }", 9),
            ("\tb: c", 1),
        ] {
            assert_eq!(hinted(line), Some(column), "{line}");
        }
    }

    #[test]
    fn quoted_values_and_comments_are_left_alone() {
        for line in [
            "a: \"[::]:6969\" # [::]:6969, @b",
            "a: '@b, *'",
            "# listen: [::]:6969",
            "a: [10.0.0.0/8, x:y]",
            "a: *base",
            "a: 12:30",
            "mail: a@b",
            "a: 5 * 3 %",
            "",
        ] {
            assert_eq!(hinted(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,80}", line in 0usize..5) {
            let _ = near(&text, Position { line, column: 1 });
        }
    }
}
