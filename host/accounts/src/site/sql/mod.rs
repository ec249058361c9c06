//! What is said to the site's database. Rows of a batch come as one JSON text, so that a statement is
//! the same for any number of them, and each statement adds up what it needs.

/// The rows in PostgreSQL. Keys are those of `apply::Sent`.
macro_rules! pg {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " json_to_recordset($1::json) AS r(m bigint, t bigint, p text, mu bigint, md bigint, \
             cu bigint, cd bigint, ss bigint, an bigint, co bigint, td bigint, fa bigint, \
             la bigint, tu bigint, tl bigint, re bigint, ac bigint, ad text, po bigint, go bigint, \
             se bigint, le bigint, sd bigint, lc bigint, n bigint) ",
            $after
        )
    };
}

/// The rows in MySQL and MariaDB.
macro_rules! my {
    ($before:expr, $after:expr) => {
        concat!(
            $before,
            " JSON_TABLE(?, '$[*]' COLUMNS (m BIGINT PATH '$.m', t BIGINT PATH '$.t', \
             p CHAR(40) PATH '$.p', mu BIGINT PATH '$.mu', md BIGINT PATH '$.md', \
             cu BIGINT PATH '$.cu', cd BIGINT PATH '$.cd', ss BIGINT PATH '$.ss', \
             an BIGINT PATH '$.an', co BIGINT PATH '$.co', td BIGINT PATH '$.td', \
             fa BIGINT PATH '$.fa', la BIGINT PATH '$.la', tu BIGINT PATH '$.tu', \
             tl BIGINT PATH '$.tl', re BIGINT PATH '$.re', ac BIGINT PATH '$.ac', \
             ad VARCHAR(45) PATH '$.ad', po BIGINT PATH '$.po', ag VARCHAR(64) PATH '$.ag', \
             go BIGINT PATH '$.go', mc BIGINT PATH '$.mc', tc BIGINT PATH '$.tc', \
             se BIGINT PATH '$.se', le BIGINT PATH '$.le', sd BIGINT PATH '$.sd', \
             lc BIGINT PATH '$.lc', n BIGINT PATH '$.n')) r ",
            $after
        )
    };
}

mod gazelle;
mod mysql;
mod postgres;
mod unit3d;

pub use self::gazelle::{GAZELLE, ORPHEUS};
pub use self::mysql::KARUTA as KARUTA_IN_MYSQL;
pub use self::postgres::KARUTA as KARUTA_IN_POSTGRES;
pub use self::unit3d::UNIT3D;
use super::Donors;
use super::apply::Sent;
use super::connection::Value;

/// The statements for a kind of tables in a kind of database.
pub struct Statements {
    /// What is said first, if anything.
    pub greeting: Option<&'static str>,
    /// Returns tables that cannot undo a transaction.
    pub unsafe_tables: &'static str,
    /// `node`: the batch that was applied last, and its nonce.
    pub look: &'static str,
    /// `node`: enters one that has applied nothing.
    pub enroll: &'static str,
    /// `applied, nonce, node, before, nonce before`: must meet one row.
    pub step: &'static str,
    /// `rows`: locks their members, and returns those that there are.
    pub members_there: &'static str,
    /// What is done with rows of members that there are, in this order.
    pub steps: &'static [Step],
    /// Microseconds since 1970, by the clock of the database; `None`: its rows do not say when they
    /// were changed, so all of them are read each time, and the site tells what it changes.
    pub now: Option<&'static str>,
    /// What all members of a group may; `None`: each row of a member says it.
    pub groups: Option<Listing>,
    pub members: Listing,
    pub torrents: Listing,
    pub tokens: Listing,
    /// What clients last reported.
    pub peers: Listing,
}

/// A statement for rows of a batch.
pub struct Step {
    /// It is left out unless there is one of these.
    pub which: Which,
    pub sql: &'static str,
    pub values: &'static [Place],
}

/// A statement that lists rows of a table.
pub struct Listing {
    pub table: &'static str,
    pub sql: &'static str,
    pub values: &'static [Place],
}

/// Which rows of a batch a statement is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    All,
    /// Of a torrent that has seeders.
    Seeded,
    /// Moved something with a token.
    Token,
    Announced,
    /// Announced, and not forgotten since.
    Here,
    /// Fell silent.
    Silent,
    /// Forgotten.
    Gone,
    /// Fell silent, or forgotten.
    Away,
    /// Finished a download.
    Completed,
}

/// What a value of a statement is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Rows of a batch, as JSON.
    Rows,
    /// The tracker's name, as configured.
    Name,
    /// The same with the epoch of its books.
    Node,
    /// The number of the batch.
    Batch,
    /// Microseconds since 1970: what has changed since then.
    Since,
    /// Whether donors get double upload.
    DonorsDouble,
    /// Whether donors are immune.
    DonorsImmune,
}

/// The values that a statement may ask for.
#[derive(Clone, Copy, Default)]
pub struct Values<'a> {
    pub rows: &'a str,
    pub name: &'a str,
    pub node: &'a str,
    pub batch: i64,
    pub since: i64,
    pub donors: Donors,
}

impl<'a> Values<'a> {
    /// Returns them in the order in which a statement wants them.
    pub fn at(self, places: &[Place]) -> Vec<Value<'a>> {
        let value = |place: &Place| match place {
            Place::Rows => Value::Text(self.rows),
            Place::Name => Value::Text(self.name),
            Place::Node => Value::Text(self.node),
            Place::Batch => Value::Number(self.batch),
            Place::Since => Value::Number(self.since),
            Place::DonorsDouble => Value::Number(self.donors.double_upload.into()),
            Place::DonorsImmune => Value::Number(self.donors.immune.into()),
        };
        places.iter().map(value).collect()
    }
}

impl Which {
    /// Returns whether a row is one of these.
    pub fn has(self, row: &Sent) -> bool {
        match self {
            Self::All => true,
            Self::Seeded => row.sd > 0,
            Self::Token => row.td > 0,
            Self::Announced => row.an > 0,
            Self::Here => row.an > 0 && row.go == 0,
            Self::Silent => row.an == 0 && row.go == 0,
            Self::Gone => row.go == 1,
            Self::Away => row.an == 0 || row.go == 1,
            Self::Completed => row.co > 0,
        }
    }
}

pub const BEGIN: &str = "BEGIN";
pub const COMMIT: &str = "COMMIT";
pub const SAVE: &str = "SAVEPOINT part";
pub const KEEP: &str = "RELEASE SAVEPOINT part";
pub const UNDO: &str = "ROLLBACK TO SAVEPOINT part";
