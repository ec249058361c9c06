//! `/api/series`: the last minutes or hours, for charts.

use hyper::StatusCode;
use url::form_urlencoded;

use super::Admin;
use super::reply::{Reply, compact, line};
use super::request::Request;
use crate::history::Span;

/// Answers with the series that the query asks for.
pub fn series(admin: &Admin, request: &Request) -> Reply {
    match wanted(request.head.uri.query().unwrap_or_default()) {
        Ok((span, names)) => {
            let names = names.as_ref().map(|names| names.split(',').collect::<Vec<_>>());
            let series = admin.history.lock().series(span, names.as_deref());
            compact(StatusCode::OK, &series)
        }
        Err(reason) => line(StatusCode::BAD_REQUEST, &reason),
    }
}

/// Returns the span and the names of a query.
fn wanted(query: &str) -> Result<(Span, Option<String>), String> {
    let (mut span, mut names) = (Span::Minutes, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "span" => span = Span::parse(&value).ok_or("span: expected 10m or 6h")?,
            "names" => names = Some(value.into_owned()),
            _ => return Err(format!("unknown parameter `{key}`, expected span or names")),
        }
    }
    Ok((span, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_span_and_series() {
        assert_eq!(wanted(""), Ok((Span::Minutes, None)));
        assert_eq!(wanted("span=6h&names=a,b"), Ok((Span::Hours, Some("a,b".into()))));
        for wrong in ["span=", "span=1h", "spam=6h", "span=10m&span=1m"] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }
}
