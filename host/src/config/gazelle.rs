//! A door for a Gazelle, which speaks to its tracker as to Ocelot.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{
    problem::{Problem, problem},
    secret::Secret,
    site_door::{is_plain, is_private, private},
    torrust::ListName,
    values,
};
use crate::fetch::is_protected;

/// The calls of Ocelot's API on an address of their own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gazelle {
    /// A loopback or private address, because nothing is encrypted. Port 0 selects any free port.
    #[serde(deserialize_with = "values::listen")]
    pub listen: SocketAddr,
    /// Of changes: [`LENGTH`] letters, digits, `-` and `_`.
    pub password: Secret,
    /// Of reports, which there are none of without it: as above, and another one.
    pub report_password: Option<Secret>,
    #[serde(default)]
    pub report_format: ReportForm,
    /// Beginnings of peer ids. If `None`, the site cannot change any.
    pub whitelist: Option<ListName>,
    /// Where the site is told of tokens that are used up; if `None`, none are. With `https`, or with
    /// `http` to this machine or a private address.
    #[serde(default, deserialize_with = "values::url", serialize_with = "values::write_url")]
    pub callback: Option<Url>,
}

/// The form of reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportForm {
    /// Lines, as Ocelot has them.
    #[default]
    Text,
    /// As its successor has them.
    Json,
}

/// The name of `admin.gazelle` among the tokens.
pub const GAZELLE: &str = "gazelle";

/// The bytes of a password: Gazelle has no room for others.
const LENGTH: usize = 32;

impl Gazelle {
    pub(super) fn check(&self) -> Result<(), Problem> {
        if let Some(url) = &self.callback
            && !may_be_called(url)
        {
            let message = "a URL without TLS to another network, where the password could be read, \
                           expected `https`, or `http` to `localhost` or a private address";
            return problem("admin.gazelle.callback", message);
        }
        private("admin.gazelle.listen", self.listen)
    }
}

/// Checks a password that has been read.
pub(super) fn check_password(value: &[u8]) -> Result<(), String> {
    match value.len() == LENGTH && is_plain(value) {
        true => Ok(()),
        false => Err(format!("expected {LENGTH} letters, digits, - and _")),
    }
}

/// Returns whether nobody else can read what is sent there.
fn may_be_called(url: &Url) -> bool {
    let is_near = || match url.host() {
        Some(Host::Ipv4(address)) => is_private(address.into()),
        Some(Host::Ipv6(address)) => is_private(address.into()),
        _ => is_protected(url),
    };
    url.scheme() == "https" || is_near()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_sent_where_others_could_read_it() {
        for near in ["https://site.example/t", "http://localhost/t", "http://10.0.0.1/t"] {
            assert!(may_be_called(&near.parse().unwrap()), "{near}");
        }
        for far in ["http://site.example/t", "http://8.8.8.8/t", "http://[2001:db8::1]/t"] {
            assert!(!may_be_called(&far.parse().unwrap()), "{far}");
        }
    }
}
