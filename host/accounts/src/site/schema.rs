//! The kinds of tables that a site may have.

use serde::{Deserialize, Serialize};

use super::sql::{GAZELLE, KARUTA_IN_MYSQL, KARUTA_IN_POSTGRES, ORPHEUS, Statements, UNIT3D};

/// Whose tables a site's database has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schema {
    /// Our own.
    #[default]
    Karuta,
    /// Those of Gazelle, as What.CD had it.
    Gazelle,
    /// Those of a later Gazelle, as Orpheus has it.
    Orpheus,
    /// Those of UNIT3D.
    Unit3d,
}

impl Schema {
    pub const ALL: [Self; 4] = [Self::Karuta, Self::Gazelle, Self::Orpheus, Self::Unit3d];

    /// Returns its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Karuta => "karuta",
            Self::Gazelle => "gazelle",
            Self::Orpheus => "orpheus",
            Self::Unit3d => "unit3d",
        }
    }

    /// Returns whether there is only MySQL or MariaDB for it.
    #[must_use]
    pub fn is_mysql_only(self) -> bool {
        self != Self::Karuta
    }

    /// Returns whether the site tells the tracker what it changes, because rows do not say when they
    /// were changed. What it has told is then in the database, too.
    #[must_use]
    pub fn is_told(self) -> bool {
        self.statements(true).now.is_none()
    }

    /// Returns whether there are groups in its tables.
    #[must_use]
    pub fn has_groups(self) -> bool {
        self.statements(true).groups.is_some()
    }

    /// Returns whether there are user agents in its tables.
    #[must_use]
    pub fn has_agents(self) -> bool {
        self != Self::Karuta
    }

    /// Returns the statements that make what the tracker needs, or those that grant its rights.
    #[must_use]
    pub fn sql(self, is_mysql: bool, grants: bool) -> &'static str {
        match (self, is_mysql, grants) {
            (Self::Karuta, false, false) => include_str!("postgresql.sql"),
            (Self::Karuta, false, true) => include_str!("postgresql-grants.sql"),
            (Self::Karuta, true, false) => include_str!("mysql.sql"),
            (Self::Karuta, true, true) => include_str!("mysql-grants.sql"),
            (Self::Gazelle | Self::Orpheus | Self::Unit3d, _, false) => include_str!("ledger.sql"),
            (Self::Gazelle, _, true) => include_str!("gazelle-grants.sql"),
            (Self::Orpheus, _, true) => include_str!("orpheus-grants.sql"),
            (Self::Unit3d, _, true) => include_str!("unit3d-grants.sql"),
        }
    }

    pub(super) fn statements(self, is_mysql: bool) -> &'static Statements {
        match (self, is_mysql) {
            (Self::Karuta, false) => &KARUTA_IN_POSTGRES,
            (Self::Karuta, true) => &KARUTA_IN_MYSQL,
            (Self::Gazelle, _) => &GAZELLE,
            (Self::Orpheus, _) => &ORPHEUS,
            (Self::Unit3d, _) => &UNIT3D,
        }
    }
}
