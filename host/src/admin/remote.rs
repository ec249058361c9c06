//! Command line options that locate a daemon's admin API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use url::Url;

use super::Client;
use crate::config::{self, Admin, Secret};
use crate::tls::Trust;

/// The options that locate a daemon.
#[derive(clap::Args)]
pub struct Remote {
    /// The daemon's configuration file.
    #[arg(long, short, default_value = "config.yaml", value_name = "FILE")]
    config: PathBuf,
    /// The address of the admin API, instead of the one in the configuration; with TLS, a URL such
    /// as https://tracker.example:6880.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    admin: Option<Url>,
    /// The file with the token of the admin API [default: $KARUTA_ADMIN_TOKEN, or the
    /// configuration's].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The file with the certificates to trust for TLS, of issuers or of the daemon itself, in PEM
    /// [default: those that the system trusts, and the daemon's in the configuration].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// The environment variable that holds the token of the admin API.
const TOKEN: &str = "KARUTA_ADMIN_TOKEN";

/// Why the daemon, its token or its issuers cannot be found.
pub enum Unknown {
    Config(config::Error),
    Credential(String),
}

impl Remote {
    /// # Errors
    ///
    /// The configuration is wrong, or the token or the issuers cannot be read.
    pub fn client(self) -> Result<Client, Unknown> {
        let given = match (self.token_file, std::env::var_os(TOKEN)) {
            (Some(file), _) => Some(Secret::from_file(&file)),
            (None, Some(token)) if !token.is_empty() => Some(Secret::from_env(TOKEN)),
            _ => None,
        };
        let given = given.transpose().map_err(Unknown::Credential)?;
        let (url, token, trust) = match self.admin {
            Some(url) => (url, given, Trust::default()),
            None => {
                let config = match given {
                    // It may be that only the service can read its secrets.
                    Some(_) => config::load_without_secrets(&self.config),
                    None => config::load(&self.config),
                };
                let Admin { listen, token, tls } = config.map_err(Unknown::Config)?.admin;
                let trust = tls.as_ref().map(Trust::configured);
                let scheme = if trust.is_some() { "https" } else { "http" };
                let url = format!("{scheme}://{}", reachable(listen));
                let url = url.parse().map_err(|error| {
                    Unknown::Credential(format!("invalid address {listen}: {error}"))
                })?;
                (url, given.or(token), trust.unwrap_or_default())
            }
        };
        let trust = match &self.ca {
            Some(file) => trust.with_file(file).map_err(Unknown::Credential)?,
            None => trust,
        };
        Ok(Client { url, token, trust })
    }
}

/// Parses the address of an admin API: `127.0.0.1:6880`, or a URL without a path.
fn address(text: &str) -> Result<Url, String> {
    let url = match text.parse::<SocketAddr>() {
        Ok(address) => format!("http://{address}").parse(),
        Err(_) => text.parse(),
    };
    let expected =
        || "expected an address with a port, or a URL such as https://host:6880".to_owned();
    let url: Url = url.map_err(|_| expected())?;
    let is_root = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let has_user = !url.username().is_empty() || url.password().is_some();
    if is_root && is_web && !has_user { Ok(url) } else { Err(expected()) }
}

/// Returns where to connect to for an address that a daemon listens on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let host = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(host, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_a_socket_or_a_url() {
        for (text, expected) in [
            ("127.0.0.1:6880", "http://127.0.0.1:6880/"),
            ("[::1]:6880", "http://[::1]:6880/"),
            ("https://tracker.example:6880", "https://tracker.example:6880/"),
            ("https://tracker.example/", "https://tracker.example/"),
        ] {
            assert_eq!(address(text).map(String::from).as_deref(), Ok(expected));
        }
        for text in [
            "127.0.0.1",
            "tracker.example:6880",
            "ftp://tracker.example",
            "https://tracker.example/api",
            "https://me@tracker.example",
            "",
        ] {
            assert!(address(text).unwrap_err().starts_with("expected an address"), "{text}");
        }
    }
}
