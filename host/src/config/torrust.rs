//! A door of the admin API for sites that are made for torrust-tracker.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::secret::Secret;

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
