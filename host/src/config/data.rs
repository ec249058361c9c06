//! Checks of the data sources of policies.

use std::time::Duration;

use super::{
    accounts::Accounts,
    problem::{Problem, problem},
    schema::{DataFormat, DataSource},
    values::{EditMode, is_header_name, show_duration},
};
use crate::fetch::is_protected;

const MIN: Duration = Duration::from_secs(1);

/// Checks a source of a name.
pub(super) fn check(
    path: &str,
    name: &str,
    source: &DataSource,
    accounts: Option<&Accounts>,
) -> Result<(), Problem> {
    if !is_data_name(name) {
        let message = format!("invalid name `{name}`, expected 1 to 40 of a-z, 0-9, - and _");
        return problem(path, message);
    }
    if source.max_size == 0 {
        return problem(format!("{path}.max_size"), "0B is too small, expected more than 0B");
    }
    if source.edits != EditMode::Off && source.format == DataFormat::Raw {
        return problem(format!("{path}.edits"), "only valid for lists, not for `raw` data");
    }
    if let Some(fifo) = &source.fifo {
        let path = format!("{path}.fifo");
        if source.edits == EditMode::Off || source.format != DataFormat::InfoHashes {
            return problem(path, "only valid for `info-hashes` with `edits`");
        }
        if fifo.paths().next().is_none() {
            return problem(path, "expected `add`, `delete`, or both");
        }
    }
    let keys = [
        ("site", source.site.is_some()),
        ("query", source.query.is_some()),
        ("url", source.url.is_some()),
        ("file", source.file.is_some()),
    ];
    let given: Vec<_> = keys.iter().filter(|(_, given)| *given).map(|(key, _)| *key).collect();
    if let [one, _, ..] = given[..] {
        let message = "expected only one of `file`, `url`, `query` and `site`";
        return problem(format!("{path}.{one}"), message);
    }
    if let Some(site) = &source.site {
        return self::site(path, source, site);
    }
    if let Some(query) = &source.query {
        return self::query(path, source, query, accounts);
    }
    if source.file.is_some() {
        return only_of_others(path, source);
    }
    let Some(url) = &source.url else {
        return problem(path, "expected a `file`, a `url`, a `query` or a `site`");
    };
    if !is_protected(url) && !source.insecure {
        let message =
            "not protected by TLS, expected https, a loopback address, or `insecure: true`";
        return problem(format!("{path}.url"), message);
    }
    if !url.username().is_empty() || url.password().is_some() {
        let message = "contains a user name or a password, expected them in `headers`";
        return problem(format!("{path}.url"), message);
    }
    for name in source.headers.keys() {
        if !is_header_name(name) {
            let message =
                format!("invalid header name `{name}`, expected one such as authorization");
            return problem(format!("{path}.headers.{name}"), message);
        }
    }
    durations(path, source)
}

fn is_data_name(name: &str) -> bool {
    let letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
    };
    (1..=40).contains(&name.len()) && name.bytes().all(letter)
}

/// Checks a list that is only edited.
fn site(path: &str, source: &DataSource, site: &str) -> Result<(), Problem> {
    let path_of_site = format!("{path}.site");
    if !is_data_name(site) {
        let message = format!("invalid name `{site}`, expected 1 to 40 of a-z, 0-9, - and _");
        return problem(path_of_site, message);
    }
    if source.format == DataFormat::Raw {
        return problem(path_of_site, "only valid for lists, not for `raw` data");
    }
    if source.edits != EditMode::Off {
        return problem(format!("{path}.edits"), "not with a `site`, which is always edited");
    }
    if source.required {
        return problem(format!("{path}.required"), "not with a `site`, which is always there");
    }
    only_of_others(path, source)
}

/// Checks a query, which is asked of the site's database.
fn query(
    path: &str,
    source: &DataSource,
    query: &str,
    accounts: Option<&Accounts>,
) -> Result<(), Problem> {
    let path_of_query = format!("{path}.query");
    if accounts.is_none_or(|accounts| accounts.database.is_none()) {
        return problem(path_of_query, "expected `accounts.database` as well");
    }
    let word = query.split_whitespace().next().unwrap_or_default();
    if !word.eq_ignore_ascii_case("select") {
        return problem(path_of_query, "expected one that begins with SELECT");
    }
    if source.format == DataFormat::Raw {
        return problem(path_of_query, "only valid for lists, not for `raw` data");
    }
    only_of_urls(path, source)?;
    durations(path, source)
}

fn durations(path: &str, source: &DataSource) -> Result<(), Problem> {
    for (key, duration) in
        [("every", source.every), ("timeout", source.timeout), ("max_age", source.max_age)]
    {
        if let Some(duration) = duration
            && duration < MIN
        {
            let message = format!("{} is too short, expected at least 1s", show_duration(duration));
            return problem(format!("{path}.{key}"), message);
        }
    }
    Ok(())
}

/// Refuses the options of URLs and queries for a file, which is read whenever it changes.
fn only_of_others(path: &str, source: &DataSource) -> Result<(), Problem> {
    let keys = [("every", source.every), ("timeout", source.timeout), ("max_age", source.max_age)];
    match keys.iter().find(|(_, given)| given.is_some()) {
        Some((key, _)) => problem(format!("{path}.{key}"), "only valid with a `url` or a `query`"),
        None => only_of_urls(path, source),
    }
}

fn only_of_urls(path: &str, source: &DataSource) -> Result<(), Problem> {
    let keys = [("headers", !source.headers.is_empty()), ("insecure", source.insecure)];
    match keys.iter().find(|(_, given)| *given) {
        Some((key, _)) => problem(format!("{path}.{key}"), "only valid with a `url`"),
        None => Ok(()),
    }
}
