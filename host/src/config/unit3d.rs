//! A door for a UNIT3D, which speaks to its tracker as to UNIT3D-Announce.

use std::net::SocketAddr;

use karuta_accounts::Donors;
use serde::{Deserialize, Serialize};

use super::{
    problem::Problem,
    secret::Secret,
    site_door::{is_plain, private},
    torrust::ListName,
    values,
};

/// The calls of UNIT3D-Announce's API on an address of their own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Unit3d {
    /// A loopback or private address, because nothing is encrypted. Port 0 selects any free port.
    #[serde(deserialize_with = "values::listen")]
    pub listen: SocketAddr,
    /// [`LENGTH`] letters, digits, `-` and `_`, or more.
    pub key: Secret,
    /// Beginnings of peer ids. If `None`, the site cannot change any.
    pub blacklist: Option<ListName>,
    /// What is not true here is left as it is by calls.
    #[serde(default)]
    pub donors: Donors,
}

/// The name of `admin.unit3d` among the tokens.
pub const UNIT3D: &str = "unit3d";

/// The fewest bytes of a key: UNIT3D-Announce starts with no shorter one.
const LENGTH: usize = 32;

impl Unit3d {
    pub(super) fn check(&self) -> Result<(), Problem> {
        private("admin.unit3d.listen", self.listen)
    }
}

/// Checks a key that has been read.
pub(super) fn check_key(value: &[u8]) -> Result<(), String> {
    match value.len() >= LENGTH && is_plain(value) {
        true => Ok(()),
        false => Err(format!("expected at least {LENGTH} letters, digits, - and _")),
    }
}
