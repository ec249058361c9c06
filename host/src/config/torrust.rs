//! A door of the admin API for sites that are made for torrust-tracker.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    problem::{Problem, problem},
    schema::{DataFormat, Policy},
    values::{EditMode, Secret},
};

/// The calls of torrust-tracker's API, and the lists that they edit. At least one list.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Torrust {
    /// Of info-hashes.
    pub whitelist: Option<ListName>,
    /// Of strings.
    pub keys: Option<ListName>,
    /// At least 16 bytes, and no other token of the admin API.
    pub token: Secret,
}

/// The name of a list, `POLICY/DATA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListName {
    pub policy: String,
    pub data: String,
}

impl Torrust {
    /// Checks its lists.
    pub(super) fn check(&self, policies: &[Policy]) -> Result<(), Problem> {
        if self.whitelist.is_none() && self.keys.is_none() {
            return problem("admin.torrust", "expected `whitelist`, `keys`, or both");
        }
        let lists = [
            ("whitelist", &self.whitelist, DataFormat::InfoHashes),
            ("keys", &self.keys, DataFormat::Strings),
        ];
        for (key, list, format) in lists {
            if let Some(list) = list {
                list.check(policies, format)
                    .or_else(|message| problem(format!("admin.torrust.{key}"), message))?;
            }
        }
        Ok(())
    }
}

impl ListName {
    fn check(&self, policies: &[Policy], format: DataFormat) -> Result<(), String> {
        let Self { policy, data } = self;
        let policy = policies.iter().find(|known| known.name == *policy);
        let policy = policy.ok_or_else(|| format!("there is no policy `{}`", self.policy))?;
        let source = policy.data.get(data);
        let source =
            source.ok_or_else(|| format!("the policy `{}` has no data `{data}`", self.policy))?;
        if source.format != format {
            let (found, expected) = (source.format.name(), format.name());
            return Err(format!("`{self}` has the format {found}, expected {expected}"));
        }
        if source.edits != EditMode::On {
            return Err(format!("`{self}` cannot be edited for good, expected `edits: true`"));
        }
        Ok(())
    }
}

impl fmt::Display for ListName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.policy, self.data)
    }
}

impl<'de> Deserialize<'de> for ListName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once('/') {
            Some((policy, data)) => Ok(Self { policy: policy.to_owned(), data: data.to_owned() }),
            None => {
                let message = format!("invalid list `{text}`, expected POLICY/DATA");
                Err(de::Error::custom(message))
            }
        }
    }
}

impl Serialize for ListName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
