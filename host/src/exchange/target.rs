//! What a request says beside its announce: the URL's path and query, and headers.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Uri};
use karuta_bittorrent::parameters::{Parameters, Value};
use karuta_bittorrent::query;

use super::rare::Clear;

/// The target and the headers of a request. Most requests over UDP have none.
#[derive(Debug, Default)]
pub struct Target {
    /// The named parameters of the route, percent-decoded.
    pub path: Vec<(Arc<str>, String)>,
    source: Source,
    /// The parameters of the query of `source`.
    parameters: Parameters,
}

#[derive(Debug)]
enum Source {
    Http {
        uri: Uri,
        headers: HeaderMap,
    },
    /// The URL data of a UDP announce (BEP 41), or nothing.
    Udp {
        url: Vec<u8>,
    },
}

impl Default for Source {
    fn default() -> Self {
        Self::Udp { url: Vec::new() }
    }
}

impl Clear for Target {
    fn clear(&mut self) {
        self.path.clear();
        self.over_udp(&[]);
    }
}

impl Target {
    /// Sets the target and the headers of an HTTP request.
    pub fn over_http(&mut self, uri: Uri, headers: HeaderMap) {
        self.parameters.split(uri.query().unwrap_or_default().as_bytes());
        self.source = Source::Http { uri, headers };
    }

    /// Sets the URL data of a UDP announce (BEP 41).
    pub fn over_udp(&mut self, url: &[u8]) {
        match &mut self.source {
            Source::Udp { url: own } => {
                own.clear();
                own.extend_from_slice(url);
            }
            Source::Http { .. } => self.source = Source::Udp { url: url.to_vec() },
        }
        self.parameters.split(query::split(url).1);
    }

    /// Drops all but the path's parameters, and returns the headers.
    pub fn take_headers(&mut self) -> HeaderMap {
        self.parameters.split(b"");
        match std::mem::take(&mut self.source) {
            Source::Http { headers, .. } => headers,
            Source::Udp { .. } => HeaderMap::new(),
        }
    }

    /// Passes the target of an HTTP request and its headers, a line each, to `put`, piece by piece.
    pub fn write(&self, mut put: impl FnMut(&[u8])) {
        let Source::Http { headers, .. } = &self.source else { return };
        let target = self.path_and_query();
        if target.starts_with(b"?") {
            put(b"/");
        }
        put(target);
        for (name, value) in headers {
            put(b"\n");
            put(name.as_str().as_bytes());
            put(b": ");
            put(value.as_bytes());
        }
    }

    /// Returns the path and the query of an HTTP request, still encoded.
    pub fn path_and_query(&self) -> &[u8] {
        match &self.source {
            Source::Http { uri, .. } => {
                uri.path_and_query().map_or("", PathAndQuery::as_str).as_bytes()
            }
            Source::Udp { .. } => b"",
        }
    }

    /// Sets what [`Target::write`] has written. The error is why it cannot be a request.
    pub fn read(&mut self, lines: &[u8]) -> Result<(), &'static str> {
        let mut lines = lines.split(|byte| *byte == b'\n');
        let uri = Uri::try_from(lines.next().unwrap_or_default()).map_err(|_| "not a target")?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let end = memchr::memmem::find(line, b": ").ok_or("not a header")?;
            let (name, value) = (&line[..end], &line[end + 2..]);
            let name = HeaderName::from_bytes(name).map_err(|_| "not a name of a header")?;
            let value = HeaderValue::from_bytes(value).map_err(|_| "not a value of a header")?;
            headers.append(name, value);
        }
        self.over_http(uri, headers);
        Ok(())
    }

    /// Returns the path of an HTTP request.
    pub fn uri_path(&self) -> &str {
        match &self.source {
            Source::Http { uri, .. } => uri.path(),
            Source::Udp { .. } => "",
        }
    }

    /// Returns the query, still encoded, and the positions of its parameters.
    pub fn query(&self) -> (&[u8], &Parameters) {
        let query = match &self.source {
            Source::Http { uri, .. } => uri.query().unwrap_or_default().as_bytes(),
            Source::Udp { url } => query::split(url).1,
        };
        (query, &self.parameters)
    }

    /// Returns a percent-decoded query parameter, unless it is absent or not UTF-8.
    pub fn query_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let (query, parameters) = self.query();
        match (parameters.get(query, name)?, &self.source) {
            // Known to be UTF-8.
            (Value::Plain(range), Source::Http { uri, .. }) => {
                uri.query()?.get(range).map(Cow::Borrowed)
            }
            (value, _) => match value.bytes(query) {
                Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
                Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
            },
        }
    }

    /// Returns a named parameter of the route.
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.path.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the first header of that name, in any case, unless it is absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// Returns the first header of that name, in any case, unless it is absent.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        match &self.source {
            Source::Http { headers, .. } => Some(headers.get(name)?.as_bytes()),
            Source::Udp { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_request_is_read_again() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-key", "k: 1"), ("accept", "a"), ("accept", "b"), ("empty", "")] {
            headers.append(name, value.parse().unwrap());
        }
        let mut target = Target::default();
        target.over_http("/announce?jwt=a%2Db&info_hash=%00%ff".parse().unwrap(), headers);
        let mut lines = Vec::new();
        target.write(|bytes| lines.extend_from_slice(bytes));
        let mut read = Target::default();
        read.read(&lines).unwrap();
        assert_eq!(read.query().0, target.query().0);
        assert_eq!((read.uri_path(), read.header("x-key")), ("/announce", Some("k: 1")));
        let mut again = Vec::new();
        read.write(|bytes| again.extend_from_slice(bytes));
        assert_eq!(again, lines);
        for (asked, written) in
            [("http://host?a=1", "/?a=1"), ("http://host", "/"), ("/a?", "/a?"), ("*", "*")]
        {
            target.over_http(asked.parse().unwrap(), HeaderMap::new());
            lines.clear();
            target.write(|bytes| lines.extend_from_slice(bytes));
            assert_eq!(lines.escape_ascii().to_string(), written);
            read.read(&lines).unwrap();
            assert_eq!(read.query().0, target.query().0);
        }
        for lines in [&b"\x01"[..], b"/a\nno header", b"/a\n: x", b"/a\nb: \x00", b""] {
            assert!(Target::default().read(lines).is_err(), "{}", lines.escape_ascii());
        }
    }

    #[test]
    fn nothing_of_a_request_is_left_to_the_next() {
        let mut target = Target::default();
        let jwt = |target: &Target| target.query_parameter("jwt").map(Cow::into_owned);
        let mut headers = HeaderMap::new();
        headers.insert("x-key", "k".parse().unwrap());
        target.over_http("/announce?jwt=a%2Db".parse().unwrap(), headers);
        assert_eq!(jwt(&target).as_deref(), Some("a-b"));
        assert_eq!(target.take_headers().len(), 1);
        assert_eq!((jwt(&target), target.header("x-key")), (None, None));
        target.over_http("/announce?jwt=abc".parse().unwrap(), HeaderMap::new());
        target.path.push(("key".into(), "k".to_owned()));
        assert_eq!(jwt(&target).as_deref(), Some("abc"));
        target.clear();
        assert_eq!((jwt(&target), target.path_parameter("key")), (None, None));
        target.over_udp(b"/announce?port=1&jwt=\xc3\xbc");
        assert_eq!(jwt(&target).as_deref(), Some("ü"));
        target.over_udp(b"/announce?port=1&jwt=\xff\xff");
        assert_eq!(jwt(&target), None, "not UTF-8");
        target.over_http("/announce".parse().unwrap(), HeaderMap::new());
        assert_eq!(jwt(&target), None);
    }

    #[test]
    fn a_header_that_is_not_utf_8_is_read_as_bytes_only() {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_bytes(b"a\xff").unwrap());
        let mut target = Target::default();
        target.over_http("/announce".parse().unwrap(), headers);
        assert_eq!(target.header("user-agent"), None);
        assert_eq!(target.header_bytes("User-Agent"), Some(&b"a\xff"[..]));
        target.over_udp(b"/announce");
        assert_eq!(target.header_bytes("user-agent"), None);
    }
}
