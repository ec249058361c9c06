//! A configuration as operators are shown it: with defaults filled in, and without secrets.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::schema::Config;
use super::values::HIDDEN;

/// A configuration, and where each value comes from.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownConfig {
    pub config: Value,
    /// By path (`tracker.num_want.max`).
    pub origins: BTreeMap<String, Origin>,
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A line of the file, counted from 1.
    Line(usize),
    Default,
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Line(line) => line.serialize(serializer),
            Self::Default => serializer.serialize_str("default"),
        }
    }
}

impl ShownConfig {
    /// # Errors
    ///
    /// A path is not UTF-8.
    pub fn of(config: &Config) -> Result<Self, serde_json::Error> {
        let mut shown = serde_json::to_value(config)?;
        let policies = shown.get_mut("policies").and_then(Value::as_array_mut);
        for policy in policies.into_iter().flatten() {
            if let Some(config) = policy.get_mut("config") {
                hide(config);
            }
        }
        let mut paths = Vec::new();
        leaves(&shown, String::new(), &mut paths);
        let lines = config.source.lines(&paths);
        let origins = lines.into_iter().map(|line| line.map_or(Origin::Default, Origin::Line));
        Ok(Self { config: shown, origins: paths.into_iter().zip(origins).collect() })
    }
}

/// Hides what the names of keys say is secret: a policy may read it from its `config`, although it
/// should not.
fn hide(value: &mut Value) {
    match value {
        Value::Object(entries) => entries.iter_mut().for_each(|(key, value)| {
            let key = key.to_ascii_lowercase();
            match ["secret", "password", "token"].iter().any(|word| key.contains(word)) {
                true if value.is_string() => *value = HIDDEN.into(),
                _ => hide(value),
            }
        }),
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

/// Lists the paths of all values that have none below them.
fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
    let dot = if path.is_empty() { "" } else { "." };
    match value {
        Value::Object(entries) if !Map::is_empty(entries) => {
            for (key, value) in entries {
                leaves(value, format!("{path}{dot}{key}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, value) in items.iter().enumerate() {
                leaves(value, format!("{path}[{at}]"), found);
            }
        }
        _ => found.push(path),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse_without_secrets;
    use super::*;

    #[test]
    fn every_value_has_an_origin_and_no_secret_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wasm"), "").unwrap();
        let yaml = "
tracker: { announce_interval: 35m }
udp:
  - listen: '[::]:6969'
    connection_id_secret: { env: SECRET }
policies:
  - name: a
    plugin: a.wasm
    config:
      deny: [-XL]
      Client_Secret: hunter2
    data:
      list:
        url: https://example.org/list?key=hunter2
        format: strings
        headers: { x-key: { env: SECRET } }
";
        let config = parse_without_secrets(yaml, &folder.path().join("config.yaml")).unwrap();
        let ShownConfig { config, origins } = ShownConfig::of(&config).unwrap();
        assert_eq!(config["tracker"]["announce_interval"], "35m");
        assert_eq!(config["udp"][0]["connection_id_secret"], "***");
        let policy = &config["policies"][0];
        assert_eq!(policy["config"]["Client_Secret"], "***");
        assert_eq!(policy["data"]["list"]["url"], "https://example.org/list?***");
        assert!(!config.to_string().contains("hunter2"));
        for (path, origin) in [
            ("tracker.announce_interval", Origin::Line(2)),
            ("tracker.num_want.max", Origin::Default),
            ("udp[0].connection_id_secret", Origin::Line(5)),
            ("udp[0].only_v6", Origin::Default),
            ("policies[0].config.deny[0]", Origin::Line(10)),
            ("policies[0].data.list.headers.x-key", Origin::Line(16)),
            ("landlock", Origin::Default),
        ] {
            assert_eq!(origins.get(path), Some(&origin), "{path}");
        }
    }

    #[test]
    fn what_is_shown_means_the_same() {
        let yaml = "udp: [{ listen: '127.0.0.1:1' }]\nswarms: { snapshot: false }\nadmin: { listen: ['127.0.0.1:1'] }\n";
        let before = parse_without_secrets(yaml, Path::new("config.yaml")).unwrap();
        let shown = ShownConfig::of(&before).unwrap().config;
        assert_eq!(shown["swarms"]["snapshot"], false);
        assert_eq!(shown["admin"]["listen"], serde_json::json!(["127.0.0.1:1"]));
        assert_eq!(
            shown["tracker"]["max_interval"].as_str().map(super::super::parse_duration),
            Some(Some(before.tracker.max_interval))
        );
    }
}
