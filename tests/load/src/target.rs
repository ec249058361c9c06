//! The tracker under load.

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Context, bail};

/// A tracker's announce URL.
#[derive(Clone, Debug)]
pub struct Target {
    pub transport: Transport,
    pub address: SocketAddr,
    /// A path such as `/announce`, perhaps with a query. Over UDP it is sent as BEP 41 URL data,
    /// unless it is empty.
    pub path: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Udp,
    Http,
}

impl Target {
    /// Returns the path of scrapes, by the convention of BEP 48.
    pub fn scrape_path(&self) -> String {
        self.path.replacen("announce", "scrape", 1)
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let (transport, rest) = match url.split_once("://") {
            Some(("udp", rest)) => (Transport::Udp, rest),
            Some(("http", rest)) => (Transport::Http, rest),
            _ => bail!("`{url}` begins with neither udp:// nor http://"),
        };
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = address
            .parse()
            .with_context(|| format!("`{address}` is not a numeric address with a port"))?;
        // One option of URL data cannot hold more.
        if transport == Transport::Udp && path.len() > usize::from(u8::MAX) {
            bail!("the path is longer than 255 bytes");
        }
        let path = match (transport, path) {
            (Transport::Http, "") => "/announce",
            (_, path) => path,
        };
        Ok(Self { transport, address, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target: Target = "udp://[::1]:6969".parse().unwrap();
        assert_eq!((target.transport, target.path.as_str()), (Transport::Udp, ""));
        let target: Target = "http://127.0.0.1:80/announce/key".parse().unwrap();
        assert_eq!(target.address, ([127, 0, 0, 1], 80).into());
        assert_eq!(target.scrape_path(), "/scrape/key");
        assert!("http://tracker.example/announce".parse::<Target>().is_err());
        assert!("127.0.0.1:80".parse::<Target>().is_err());
    }
}
