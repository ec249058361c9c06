//! What is probed: the announce URL of a tracker.

use url::{Position, Url};

/// An announce URL that can be requested.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: Url,
    pub transport: Transport,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Http,
    Https,
    Udp,
}

/// The longest URL, in bytes. A UDP announce carries its path and query.
const MOST: usize = 1024;

impl Target {
    /// Parses a URL. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MOST {
            return Err(format!("{} bytes, expected at most {MOST}", text.len()));
        }
        let example = "such as udp://tracker.example:6969/announce";
        let url: Url =
            text.parse().map_err(|error| format!("{error}, expected a URL {example}"))?;
        let transport = match url.scheme() {
            "http" => Transport::Http,
            "https" => Transport::Https,
            "udp" => Transport::Udp,
            other => return Err(format!("the scheme is `{other}`, expected http, https or udp")),
        };
        if url.host_str().is_none_or(str::is_empty) {
            return Err(format!("no host, expected a URL {example}"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user or a password, which no client sends".into());
        }
        if url.fragment().is_some() {
            return Err("a fragment (#), which no client sends".into());
        }
        match url.port() {
            Some(0) => return Err("the port is 0, expected one from 1 to 65535".into()),
            None if transport == Transport::Udp => {
                return Err(format!("no port, expected a URL {example}"));
            }
            _ => {}
        }
        let own = ["info_hash", "peer_id", "port", "event", "left", "numwant"];
        if let Some((key, _)) = url.query_pairs().find(|(key, _)| own.contains(&&**key)) {
            return Err(format!(
                "the parameter `{key}` is added by the probe, expected a URL without"
            ));
        }
        Ok(Self { url, transport })
    }

    /// Returns the port, which http and https have by default.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// Returns the host and the port as in the URL.
    pub fn place(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// Returns the URL without what may be secret: the query, and names in the path that are not
    /// those of announces and scrapes.
    pub fn shown(&self) -> String {
        let mut path = String::new();
        for name in self.url.path().split('/').filter(|name| !name.is_empty()) {
            let is_known = name.starts_with("announce") || name.starts_with("scrape");
            path.push('/');
            path.push_str(if is_known { name } else { "…" });
        }
        format!("{}://{}{path}", self.url.scheme(), self.place())
    }

    /// Returns the path and the query.
    pub fn path_and_query(&self) -> &str {
        match &self.url[Position::BeforePath..Position::AfterQuery] {
            "" => "/",
            path => path,
        }
    }

    /// Returns the URL whose path is that of scrapes (BEP 48).
    pub fn of_scrape(mut self) -> Result<Self, String> {
        let mut names: Vec<_> = self.url.path().split('/').map(str::to_owned).collect();
        let is_scrape = names.iter().any(|name| name.starts_with("scrape"));
        if self.transport == Transport::Udp || is_scrape {
            return Ok(self);
        }
        // A passkey may follow.
        let Some(name) = names.iter_mut().rfind(|name| name.starts_with("announce")) else {
            let reason = "cannot be scraped: expected `announce` or `scrape` in its path";
            return Err(reason.to_owned());
        };
        *name = name.replacen("announce", "scrape", 1);
        self.url.set_path(&names.join("/"));
        Ok(self)
    }

    /// Returns the path and the query with more parameters.
    pub fn with_query(&self, query: &str) -> String {
        let path = self.path_and_query();
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{path}{mark}{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announce_urls_are_accepted() {
        for (text, port, path, scrape) in [
            ("http://a", 80, "/", None),
            ("https://a/announce", 443, "/announce", Some("/scrape")),
            ("https://a/p/announce.php?k=v", 443, "/p/announce.php?k=v", Some("/p/scrape.php?k=v")),
            ("http://[::1]:6969/announce", 6969, "/announce", Some("/scrape")),
            ("http://a/scrape", 80, "/scrape", Some("/scrape")),
            ("http://a/announce/more", 80, "/announce/more", Some("/scrape/more")),
            ("http://a/more", 80, "/more", None),
            ("udp://a:1", 1, "/", Some("/")),
            ("udp://a:1/announce/key?x", 1, "/announce/key?x", Some("/announce/key?x")),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.port(), target.path_and_query()), (port, path), "{text}");
            let scraped = target.of_scrape();
            assert_eq!(scraped.as_ref().ok().map(Target::path_and_query), scrape, "{text}");
        }
        let shown = |text| Target::parse(text).unwrap().shown();
        assert_eq!(shown("http://a/announce/s3cret?k=v"), "http://a/announce/…");
        assert_eq!(shown("udp://[::1]:1/s3cret/announce.php"), "udp://[::1]:1/…/announce.php");
        assert_eq!(shown("https://a"), "https://a");
        let with = |text| Target::parse(text).unwrap().with_query("a=b");
        assert_eq!(with("http://a"), "/?a=b");
        assert_eq!(with("http://a/announce"), "/announce?a=b");
        assert_eq!(with("http://a/announce?k=v"), "/announce?k=v&a=b");
    }

    #[test]
    fn what_is_no_announce_url_is_refused() {
        let long = format!("http://a/{}", "x".repeat(MOST));
        for (text, error) in [
            ("", "relative URL without a base, expected a URL such as udp://tracker"),
            ("tracker.example", "relative URL without a base"),
            ("tracker.example:6969", "the scheme is `tracker.example`, expected http"),
            ("ws://a", "the scheme is `ws`"),
            ("http://", "empty host"),
            ("udp:///announce", "no host"),
            ("udp://a/announce", "no port"),
            ("udp://a:0/announce", "the port is 0"),
            ("http://a:0", "the port is 0"),
            ("udp://a:65536/announce", "invalid port number"),
            ("http://me@a/announce", "a user or a password"),
            ("http://:x@a/announce", "a user or a password"),
            ("http://a/announce#x", "a fragment"),
            ("http://a/announce?info_hash=x", "the parameter `info_hash` is added"),
            ("udp://a:1/announce?event=x", "the parameter `event` is added"),
            (&long, "1033 bytes, expected at most 1024"),
        ] {
            let refused = Target::parse(text).unwrap_err();
            assert!(refused.starts_with(error), "{text}: {refused}");
        }
    }
}
