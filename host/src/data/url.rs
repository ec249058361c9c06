//! Data that servers have at URLs.

use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use hyper::{Method, StatusCode};

use super::definition::Remote;
use crate::fetch::{Client, Protected, Request, Shown};
use crate::text::Escaped;

/// A URL that is asked again and again.
pub struct Url {
    pub remote: Remote,
    client: Client,
    /// Conditional request headers, so that the server need not send unchanged data.
    pub validators: HeaderMap,
}

/// What a server has.
pub enum Found {
    /// What it had the last time.
    Same,
    /// Data, and the headers that ask whether there is other data.
    New { body: Vec<u8>, validators: HeaderMap },
}

impl Url {
    pub fn new(remote: Remote) -> Self {
        let client = Client::new(Protected { insecure: remote.insecure });
        Self { remote, client, validators: HeaderMap::new() }
    }

    /// Asks for at most `max_size` bytes. New data is never confirmed unless its validators are kept.
    ///
    /// # Errors
    ///
    /// Why there is no data.
    pub fn ask(&mut self, max_size: u64, is_raw: bool) -> Result<Found, String> {
        let mut headers = self.validators.clone();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in &self.remote.headers {
            // Both were checked with the configuration.
            if let (Ok(name), Ok(mut value)) =
                (HeaderName::try_from(name), HeaderValue::from_bytes(value.expose()))
            {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let answer = self.client.fetch(Request {
            method: Method::GET,
            url: &self.remote.url,
            headers,
            body: &[],
            timeout: self.remote.pace.timeout,
            max_size,
        })?;
        let answers = |what: String| Err(format!("{} answers {what}", Shown(&self.remote.url)));
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if !self.validators.is_empty() => return Ok(Found::Same),
            status => return answers(status.to_string()),
        }
        if let Some(other) = foreign(&answer.headers, is_raw) {
            return answers(other);
        }
        self.validators.clear();
        let mut validators = HeaderMap::new();
        for (ours, theirs) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
            if let Some(value) = answer.headers.get(theirs) {
                validators.insert(ours, value.clone());
            }
        }
        Ok(Found::New { body: answer.body, validators })
    }
}

/// Describes an answer that is not the requested data. Proxies, login pages and failed servers also
/// answer with 200.
fn foreign(headers: &HeaderMap, is_raw: bool) -> Option<String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    for encoding in headers.get_all(CONTENT_ENCODING).iter().map(text) {
        if !matches!(encoding.trim(), "" | "identity") {
            return Some(format!(
                "with the content encoding `{}`, which was not asked for",
                Escaped(&encoding)
            ));
        }
    }
    let kind = headers.get(CONTENT_TYPE).map(text)?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_page = matches!(kind, "text/html" | "application/xhtml+xml");
    let families = ["image/", "audio/", "video/", "font/", "multipart/"];
    let is_no_text = families.iter().any(|family| kind.starts_with(family));
    (is_page || (is_no_text && !is_raw))
        .then(|| format!("with the type `{}`, expected data", Escaped(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_kind_is_named() {
        let foreign = |name: HeaderName, value: &'static str, is_raw| {
            foreign(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]), is_raw)
        };
        for value in ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml"] {
            let said = foreign(CONTENT_TYPE, value, true).unwrap();
            assert!(said.ends_with("`, expected data"), "{said}");
        }
        assert!(foreign(CONTENT_TYPE, "image/png", false).is_some());
        assert_eq!(foreign(CONTENT_TYPE, "image/png", true), None);
        for value in ["text/plain", "application/octet-stream", "application/json", "", "?"] {
            assert_eq!(foreign(CONTENT_TYPE, value, false), None, "{value}");
        }
        for value in ["gzip", "identity, br", "GZIP"] {
            assert!(foreign(CONTENT_ENCODING, value, true).is_some(), "{value}");
        }
        assert_eq!(foreign(CONTENT_ENCODING, "Identity", true), None);
    }
}
