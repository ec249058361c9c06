//! A connection to the site's database: PostgreSQL, or MySQL or MariaDB, with one set of calls.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row as _};

use super::schema::Schema;
use super::sql::Statements;

/// Where the database is, and who logs in. Its `Debug` hides it.
#[derive(Clone)]
pub enum Address {
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
}

/// A value of a statement.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Number(i64),
    Text(&'a str),
}

pub struct Connection {
    wire: Wire,
    pub statements: &'static Statements,
}

enum Wire {
    Postgres(Box<PgConnection>),
    MySql(Box<MySqlConnection>),
}

pub enum Row {
    Postgres(PgRow),
    MySql(MySqlRow),
}

/// Why something could not be done with the database.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Sql(sqlx::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
}

/// What the fault is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A value or a row, which the database will refuse again.
    Data,
    /// A table or a right is missing: a person has to do something.
    Setup,
    /// Anything else: trying again may help.
    Passing,
}

/// How long a connection may take, and an answer: longer than a row is usually locked.
const CONNECTING: Duration = Duration::from_secs(10);
const ANSWERING: Duration = Duration::from_secs(120);

/// Errors of MySQL and MariaDB that are about a value, and whose SQLSTATE does not say so: truncated,
/// no default, wrong value, a `CHECK` of MySQL and of MariaDB.
const VALUES: [u16; 5] = [1265, 1364, 1366, 3819, 4025];
/// No such table, no such column, no right to do this in a table, a column or at all.
const SETUPS: [u16; 5] = [1146, 1054, 1142, 1143, 1044];
/// Locks that two transactions wait for, and one that was waited for too long.
const LOCKS: [u16; 2] = [1205, 1213];

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(…)")
    }
}

impl Address {
    /// Parses a URL such as `postgres://user:password@host/database`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without any part of it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let wrong = |error: sqlx::Error| match error {
            sqlx::Error::Configuration(error) => error.to_string(),
            error => error.to_string(),
        };
        match scheme {
            "postgres" | "postgresql" => url
                .parse::<PgConnectOptions>()
                .map(|options| options.application_name("karuta").disable_statement_logging())
                .map(|options| Self::Postgres(Box::new(options)))
                .map_err(wrong),
            "mysql" | "mariadb" => url
                .parse::<MySqlConnectOptions>()
                .map(|options| Self::MySql(Box::new(options.disable_statement_logging())))
                .map_err(wrong),
            _ => Err("expected a URL that begins with postgres:// or mysql://".to_owned()),
        }
    }

    /// Returns the name of the kind of database.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgresql",
            Self::MySql(_) => "mysql",
        }
    }

    /// Returns whether it is one of MySQL or MariaDB.
    #[must_use]
    pub fn is_mysql(&self) -> bool {
        matches!(self, Self::MySql(_))
    }

    pub async fn connect(&self, schema: Schema) -> Result<Connection, Fault> {
        let connecting = async {
            Ok(match self {
                Self::Postgres(options) => Wire::Postgres(Box::new(options.connect().await?)),
                Self::MySql(options) => Wire::MySql(Box::new(options.connect().await?)),
            })
        };
        let connected = tokio::time::timeout(CONNECTING, connecting).await;
        let wire = connected.map_err(|_| Fault::Silent(CONNECTING))?.map_err(Fault::Sql)?;
        Ok(Connection { wire, statements: schema.statements(self.is_mysql()) })
    }
}

/// Binds values to a statement, for either kind of database.
macro_rules! bound {
    ($sql:expr, $values:expr) => {
        $values.iter().fold(sqlx::query($sql), |query, value| match value {
            Value::Number(number) => query.bind(*number),
            Value::Text(text) => query.bind(*text),
        })
    };
}

impl Connection {
    /// Says what a table is whose transactions cannot be undone.
    pub fn unsafe_because(&self) -> &'static str {
        match self.wire {
            Wire::Postgres(_) => "it is UNLOGGED, so a crash empties it",
            Wire::MySql(_) => "its engine is not InnoDB",
        }
    }

    /// Returns what makes sure that nothing is changed from now on.
    pub fn read_only(&self) -> &'static str {
        match self.wire {
            Wire::Postgres(_) => "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            Wire::MySql(_) => "SET SESSION TRANSACTION READ ONLY",
        }
    }

    /// Returns the rows of a statement of an operator as they come, for [`Row::as_text`].
    pub fn lines(&mut self, sql: AssertSqlSafe<String>) -> BoxStream<'_, Result<Row, sqlx::Error>> {
        let sql = sqlx::raw_sql(sql);
        match &mut self.wire {
            Wire::Postgres(one) => sql.fetch(&mut **one).map_ok(Row::Postgres).boxed(),
            Wire::MySql(one) => sql.fetch(&mut **one).map_ok(Row::MySql).boxed(),
        }
    }

    /// Does a statement that cannot be prepared.
    pub async fn command(&mut self, sql: &'static str) -> Result<(), Fault> {
        let doing = async {
            match &mut self.wire {
                Wire::Postgres(one) => one.execute(sqlx::raw_sql(sql)).await.map(|_| ()),
                Wire::MySql(one) => one.execute(sqlx::raw_sql(sql)).await.map(|_| ()),
            }
        };
        in_time(doing).await
    }

    /// Does a statement, and returns the number of rows that it has met.
    pub async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let doing = async {
            Ok(match &mut self.wire {
                Wire::Postgres(one) => {
                    bound!(sql, values).execute(&mut **one).await?.rows_affected()
                }
                Wire::MySql(one) => bound!(sql, values).execute(&mut **one).await?.rows_affected(),
            })
        };
        in_time(doing).await
    }

    /// Returns the rows of a statement as they come.
    pub fn stream<'a>(
        &'a mut self,
        sql: &'static str,
        values: &'a [Value<'a>],
    ) -> BoxStream<'a, Result<Row, sqlx::Error>> {
        match &mut self.wire {
            Wire::Postgres(one) => {
                bound!(sql, values).fetch(&mut **one).map_ok(Row::Postgres).boxed()
            }
            Wire::MySql(one) => bound!(sql, values).fetch(&mut **one).map_ok(Row::MySql).boxed(),
        }
    }

    /// Returns all rows of a statement.
    pub async fn rows(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        in_time(self.stream(sql, values).try_collect()).await
    }
}

/// Waits for an answer, but not for ever.
pub async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Fault> {
    let answered = tokio::time::timeout(ANSWERING, answer).await;
    answered.map_err(|_| Fault::Silent(ANSWERING))?.map_err(Fault::Sql)
}

impl Row {
    /// Returns the number in a column; `None` for NULL.
    pub fn number(&self, column: usize) -> Result<Option<i64>, Fault> {
        let read = match self {
            Self::Postgres(row) => row.try_get(column),
            Self::MySql(row) => row.try_get(column),
        };
        read.map_err(Fault::Sql)
    }

    pub fn text(&self, column: usize) -> Result<Option<String>, Fault> {
        let read = match self {
            Self::Postgres(row) => row.try_get(column),
            Self::MySql(row) => row.try_get(column),
        };
        read.map_err(Fault::Sql)
    }

    /// Returns how many columns there are.
    pub fn columns(&self) -> usize {
        match self {
            Self::Postgres(row) => row.len(),
            Self::MySql(row) => row.len(),
        }
    }

    /// Returns a value as the text that the database sends for it, whatever its type is.
    pub fn as_text(&self, column: usize) -> Result<Option<String>, Fault> {
        let read = match self {
            Self::Postgres(row) => row.try_get_unchecked(column),
            Self::MySql(row) => row.try_get_unchecked(column),
        };
        read.map_err(Fault::Sql)
    }

    pub fn bytes(&self, column: usize) -> Result<Option<Vec<u8>>, Fault> {
        let read = match self {
            Self::Postgres(row) => row.try_get(column),
            Self::MySql(row) => row.try_get(column),
        };
        read.map_err(Fault::Sql)
    }
}

impl Fault {
    pub fn kind(&self) -> Kind {
        let Self::Sql(sqlx::Error::Database(error)) = self else { return Kind::Passing };
        let code = error.code().unwrap_or_default();
        match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => of_mysql(error.number(), &code),
            None => of_postgres(&code),
        }
    }

    /// Says what has happened, for operators.
    pub fn reason(&self) -> String {
        let what = match self {
            Self::Sql(sqlx::Error::Database(error)) => error.message().to_owned(),
            Self::Sql(sqlx::Error::Io(error)) => error.to_string(),
            other => other.to_string(),
        };
        match self.kind() {
            Kind::Setup => format!("{what}; `karuta accounts schema` prints what is needed"),
            _ => what,
        }
    }
}

fn of_mysql(number: u16, state: &str) -> Kind {
    match number {
        number if LOCKS.contains(&number) => Kind::Passing,
        number if SETUPS.contains(&number) => Kind::Setup,
        number if VALUES.contains(&number) => Kind::Data,
        // Data, constraints, and what triggers raise.
        _ if ["22", "23", "45"].iter().any(|class| state.starts_with(class)) => Kind::Data,
        _ => Kind::Passing,
    }
}

/// What is not about the connection, the server, a transaction or the schema is about the data: triggers
/// may raise anything.
fn of_postgres(state: &str) -> Kind {
    const PASSING: [&str; 14] =
        ["08", "25", "26", "28", "34", "3D", "40", "53", "54", "55", "57", "58", "F0", "XX"];
    match state.get(..2) {
        None => Kind::Passing,
        Some("42") => Kind::Setup,
        Some(class) if PASSING.contains(&class) => Kind::Passing,
        Some(_) => Kind::Data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed_or_refused_without_a_part_of_it() {
        let kinds = [
            ("postgres://karuta:secret@db.example/site?sslmode=verify-full", "postgresql"),
            ("postgresql:///site?host=/run/postgresql", "postgresql"),
            ("mysql://karuta:secret@localhost:3306/site", "mysql"),
            ("mariadb://karuta@localhost/site?socket=/run/mysqld/mysqld.sock", "mysql"),
        ];
        for (url, kind) in kinds {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.kind(), kind, "{url}");
            assert_eq!(format!("{address:?}"), "Address(…)");
        }
        let wrong = [
            "",
            "hunter2",
            "sqlite:hunter2",
            "postgres://x:hunter2@[::/",
            "mysql://hunter2:x:y@h:z/",
        ];
        for url in wrong {
            let error = Address::parse(url).unwrap_err();
            assert!(!error.is_empty() && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn faults_of_data_are_told_from_those_that_pass() {
        let of_mysql = |number, state| super::of_mysql(number, state);
        let table = [
            (of_postgres("22003"), Kind::Data, "out of range"),
            (of_postgres("23514"), Kind::Data, "a CHECK"),
            (of_postgres("P0001"), Kind::Data, "a trigger"),
            (of_postgres("40P01"), Kind::Passing, "a deadlock"),
            (of_postgres("53100"), Kind::Passing, "a full disk"),
            (of_postgres("57P01"), Kind::Passing, "a server that stops"),
            (of_postgres("42P01"), Kind::Setup, "no table"),
            (of_postgres("42501"), Kind::Setup, "no right"),
            (of_postgres(""), Kind::Passing, "no state"),
            (of_mysql(1264, "22003"), Kind::Data, "out of range"),
            (of_mysql(4025, "23000"), Kind::Data, "a CHECK of MariaDB"),
            (of_mysql(3819, "HY000"), Kind::Data, "a CHECK of MySQL"),
            (of_mysql(1644, "45000"), Kind::Data, "a trigger"),
            (of_mysql(1213, "40001"), Kind::Passing, "a deadlock"),
            (of_mysql(1205, "HY000"), Kind::Passing, "a lock"),
            (of_mysql(1114, "HY000"), Kind::Passing, "a full disk"),
            (of_mysql(1146, "42S02"), Kind::Setup, "no table"),
            (of_mysql(1142, "42000"), Kind::Setup, "no right"),
        ];
        for (is, expected, case) in table {
            assert_eq!(is, expected, "{case}");
        }
    }
}
