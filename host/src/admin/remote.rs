//! Command line options that locate a daemon's admin API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use url::Url;

use super::client::{Client, Place};
use crate::config::{self, Secret};
use crate::tls::Trust;

/// The options that locate a daemon.
#[derive(clap::Args)]
pub struct Remote {
    /// The daemon's configuration file. The socket files in `admin.listen` are tried first, then the
    /// first address.
    #[arg(long, short, default_value = "config.yaml", value_name = "FILE")]
    config: PathBuf,
    /// The address of the admin API, instead of those in the configuration: an address with a port,
    /// unix:PATH, or with TLS a URL such as https://tracker.example:6880.
    #[arg(long, value_name = "ADDRESS", value_parser = place)]
    admin: Option<Given>,
    /// The file with a token of the admin API [default: $KARUTA_ADMIN_TOKEN, or the
    /// configuration's]. A socket file needs none.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The file with the certificates to trust for TLS, of issuers or of the daemon itself, in PEM
    /// [default: those that the system trusts, and the daemon's in the configuration].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// An address on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Given {
    Socket(PathBuf),
    Url(Url),
}

/// The environment variable that holds the token of the admin API.
const TOKEN: &str = "KARUTA_ADMIN_TOKEN";

/// How a daemon is found without a configuration.
const WITHOUT: &str =
    "`--admin ADDRESS` or `--admin unix:PATH` finds a tracker without its configuration";

/// Why the daemon, its token or its issuers cannot be found.
pub enum Unknown {
    Config(config::Error),
    Credential(String),
}

impl Remote {
    /// Returns the daemon's configuration file, as far as this knows it.
    pub fn file(&self) -> &Path {
        &self.config
    }

    /// Finds the daemon. Socket files are tried here, so that secrets are only read for an address.
    ///
    /// # Errors
    ///
    /// The configuration is wrong, or the token or the issuers cannot be read.
    pub fn client(self) -> Result<Client, Unknown> {
        let given = match (self.token_file, std::env::var_os(TOKEN)) {
            (Some(file), _) => Some(Secret::from_file(&file)),
            (None, Some(token)) if !token.is_empty() => Some(Secret::from_env(TOKEN)),
            _ => None,
        };
        let token = given.transpose().map_err(Unknown::Credential)?;
        let with_ca = |trust: Trust| match &self.ca {
            Some(file) => trust.with_file(file).map_err(Unknown::Credential),
            None => Ok(trust),
        };
        match self.admin {
            Some(Given::Socket(path)) => return Ok(Client::new(Place::Socket(path), None)),
            Some(Given::Url(url)) => {
                let trust = with_ca(Trust::default())?;
                return Ok(Client::new(Place::Network { url, trust }, token));
            }
            None => {}
        }
        // What a policy lacks by now is no hindrance to go back to what there was before.
        let config = config::load_without_files(&self.config)
            .map_err(|error| Unknown::Config(error.with_hint(WITHOUT)))?;
        let mut failed = Vec::new();
        for path in config.admin.sockets() {
            let place = Place::Socket(path.to_owned());
            match UnixStream::connect(path) {
                Ok(_) => return Ok(Client::new(place, None)),
                Err(error) => failed.push((place, error)),
            }
        }
        let Some(listen) = config.admin.addresses().next() else {
            // It may be there later.
            let place = failed.pop().map(|(place, _)| place);
            let place = place.ok_or_else(|| Unknown::Credential("no address".to_owned()))?;
            return Ok(Client::new(place, None));
        };
        let tried: Vec<_> =
            failed.iter().map(|(place, error)| format!("{place}: {error}")).collect();
        let tried = (!tried.is_empty()).then(|| format!("tried before: {}", tried.join("; ")));
        let token = match token {
            Some(token) => Some(token),
            None if config.admin.token.is_none() && config.admin.tokens.is_empty() => None,
            None => {
                let config = config::load(&self.config).map_err(|error| match &tried {
                    Some(tried) => Unknown::Config(error.with_hint(tried)),
                    None => Unknown::Config(error),
                })?;
                most_allowed(config.admin)
            }
        };
        let trust = config.admin.tls.as_ref().map(Trust::configured);
        let scheme = if trust.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", reachable(listen));
        let url = url
            .parse()
            .map_err(|error| Unknown::Credential(format!("invalid address {listen}: {error}")))?;
        let trust = with_ca(trust.unwrap_or_default())?;
        Ok(Client { place: Place::Network { url, trust }, token, tried })
    }
}

/// Returns the token that allows most.
fn most_allowed(admin: config::Admin) -> Option<Secret> {
    let others = admin.tokens.into_iter().max_by_key(|token| token.may.len());
    admin.token.or(others.map(|token| token.token))
}

/// Parses the address of an admin API: `127.0.0.1:6880`, `unix:PATH`, or a URL without a path.
fn place(text: &str) -> Result<Given, String> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Given::Socket(path.into()));
    }
    let url = match text.parse::<SocketAddr>() {
        Ok(address) => format!("http://{address}").parse(),
        Err(_) => text.parse(),
    };
    let expected = || {
        "expected an address with a port, unix:PATH, or a URL such as https://host:6880".to_owned()
    };
    let url: Url = url.map_err(|_| expected())?;
    let is_root = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let has_user = !url.username().is_empty() || url.password().is_some();
    if is_root && is_web && !has_user { Ok(Given::Url(url)) } else { Err(expected()) }
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
    fn an_address_is_one_of_a_socket_a_file_or_a_url() {
        for (text, expected) in [
            ("127.0.0.1:6880", "http://127.0.0.1:6880/"),
            ("[::1]:6880", "http://[::1]:6880/"),
            ("https://tracker.example:6880", "https://tracker.example:6880/"),
            ("https://tracker.example/", "https://tracker.example/"),
        ] {
            assert_eq!(place(text), Ok(Given::Url(expected.parse().unwrap())));
        }
        assert_eq!(place("unix:/run/a"), Ok(Given::Socket("/run/a".into())));
        for text in [
            "127.0.0.1",
            "tracker.example:6880",
            "ftp://tracker.example",
            "https://tracker.example/api",
            "https://me@tracker.example",
            "",
            "unix:",
        ] {
            assert!(place(text).unwrap_err().starts_with("expected an address"), "{text}");
        }
    }
}
