//! Keys and values that are designed but not implemented yet.

use serde_yaml::Value;

use super::{Error, Source};

/// Paths, with `[]` for each item of a list and `*` for each key; with a value if only that one is
/// not implemented.
const UNBUILT: [(&str, Option<&str>); 2] =
    [("http[].tls", None), ("policies[].when.transports[]", Some("https"))];

/// Refuses what `config` contains but is not implemented.
pub(super) fn refuse(config: &Value, source: &Source) -> Result<(), Error> {
    for (pattern, only) in UNBUILT {
        if let Some((path, value)) = find(config, pattern, String::new(), only) {
            return Err(match value {
                Some(value) => source.error(&path, format!("`{value}` is not implemented yet")),
                None => source.key_error(&path, "not implemented yet"),
            });
        }
    }
    Ok(())
}

fn find<'v>(
    node: &Value,
    pattern: &str,
    path: String,
    only: Option<&'v str>,
) -> Option<(String, Option<&'v str>)> {
    if let Some(pattern) = pattern.strip_prefix("[]") {
        let items = node.as_sequence()?;
        let mut items = items.iter().enumerate();
        return items.find_map(|(at, item)| find(item, pattern, format!("{path}[{at}]"), only));
    }
    let pattern = pattern.strip_prefix('.').unwrap_or(pattern);
    if pattern.is_empty() {
        return only.is_none_or(|only| node.as_str() == Some(only)).then_some((path, only));
    }
    let (key, pattern) = pattern.split_at(pattern.find(['.', '[']).unwrap_or(pattern.len()));
    let go = |key: &str, node| {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        find(node, pattern, path, only)
    };
    let node = node.as_mapping()?;
    match key {
        "*" => node.iter().find_map(|(key, node)| go(key.as_str()?, node)),
        _ => go(key, node.get(key)?),
    }
}
