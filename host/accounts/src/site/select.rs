//! A list that the site's database has: what an operator's `SELECT` returns, as lines of text.

use futures_util::TryStreamExt;
use sqlx::AssertSqlSafe;

use super::connection::{Address, Fault, in_time};
use super::schema::Schema;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum Unlisted {
    #[error("{}", .0.reason())]
    Fault(#[from] Fault),
    #[error("more than {0} bytes")]
    Long(u64),
    #[error("row {0}: a value with a line break")]
    Line(usize),
    #[error("{0} columns, expected {1}")]
    Columns(usize, &'static str),
}

/// Returns the rows of a `SELECT`, each on a line: its only column, or two with a blank between them if
/// the second one may be there. Rows whose first column is NULL are left out. Nothing can be
/// changed with it.
///
/// # Errors
///
/// The database cannot be asked, or has no list of at most `max_size` bytes.
pub async fn select(
    address: &Address,
    sql: &str,
    has_values: bool,
    max_size: u64,
) -> Result<String, Unlisted> {
    let mut connection = address.connect(Schema::default()).await?;
    connection.command(connection.read_only()).await?;
    let mut rows = connection.lines(AssertSqlSafe(sql.to_owned()));
    let (mut text, mut count) = (String::new(), 0);
    while let Some(row) = in_time(rows.try_next()).await? {
        count += 1;
        let (columns, expected) = (row.columns(), if has_values { "1 or 2" } else { "1" });
        if columns == 0 || columns > 1 + usize::from(has_values) {
            return Err(Unlisted::Columns(columns, expected));
        }
        let Some(first) = row.as_text(0)? else { continue };
        let second = if columns == 2 { row.as_text(1)? } else { None };
        let before = text.len();
        text.push_str(&first);
        if let Some(second) = second {
            text.push(' ');
            text.push_str(&second);
        }
        if text[before..].contains(['\n', '\r']) {
            return Err(Unlisted::Line(count));
        }
        text.push('\n');
        if text.len() as u64 > max_size {
            return Err(Unlisted::Long(max_size));
        }
    }
    Ok(text)
}
