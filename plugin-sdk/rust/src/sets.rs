//! Sets that the host loads from the policy's `data` sources and keeps up to date. They take none
//! of the policy's memory.
//!
//! Each type is a value of a policy's configuration: the name of a source. A name that `data` does
//! not declare, or a source of another format, is an error at that key.

use std::net::IpAddr;

use serde::Deserialize;

use crate::{Error, InfoHash, host::sets, values};

/// A source in the format `info-hashes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct InfoHashes(u32);

impl InfoHashes {
    /// Returns whether the set contains an info-hash.
    #[must_use]
    pub fn contains(self, info_hash: InfoHash) -> bool {
        sets::has_info_hash(self.0, info_hash.to_words())
    }
}

impl TryFrom<String> for InfoHashes {
    type Error = Error;
    fn try_from(name: String) -> Result<Self, Error> {
        open(&name, "info-hashes").map(Self)
    }
}

/// A source in the format `addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Addresses(u32);

impl Addresses {
    /// Returns the number of the longest prefix that contains an address; zero if the source gives no
    /// number for it. `None` if no prefix contains the address.
    #[must_use]
    pub fn find(self, address: IpAddr) -> Option<u64> {
        sets::match_address(self.0, values::to_words(address))
    }
}

impl TryFrom<String> for Addresses {
    type Error = Error;
    fn try_from(name: String) -> Result<Self, Error> {
        open(&name, "addresses").map(Self)
    }
}

/// A source in the format `strings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Strings(u32);

impl Strings {
    /// Returns whether the set contains a text.
    #[must_use]
    pub fn contains(self, text: &str) -> bool {
        sets::has_string(self.0, text)
    }

    /// Returns whether the set contains a beginning of these bytes, such as one of a peer id, up to
    /// the first byte that is not UTF-8.
    #[must_use]
    pub fn contains_beginning_of(self, bytes: &[u8]) -> bool {
        let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let mut ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
        ends.any(|end| self.contains(&text[..end]))
    }
}

impl TryFrom<String> for Strings {
    type Error = Error;
    fn try_from(name: String) -> Result<Self, Error> {
        open(&name, "strings").map(Self)
    }
}

/// A source in the format `raw`. [`DataSink::on_data`](crate::DataSink::on_data) receives its data.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Raw(String);

impl Raw {
    /// Returns the name of the source.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Asks the host to fetch the source again soon, for something that it does not contain yet. The
    /// host does so at most once in ten seconds. Files are watched anyway.
    pub fn refresh(&self) {
        sets::refresh(&self.0);
    }
}

impl TryFrom<String> for Raw {
    type Error = Error;
    fn try_from(name: String) -> Result<Self, Error> {
        declared(&name, "raw")?;
        Ok(Self(name))
    }
}

fn open(name: &str, format: &str) -> Result<u32, Error> {
    declared(name, format)?;
    Ok(sets::open(name)?)
}

fn declared(name: &str, format: &str) -> Result<(), Error> {
    let sources = sets::sources();
    match sources.iter().find(|(known, _)| known == name) {
        None => Err(Error::new(format_args!(
            "there is no data source `{name}`, expected one that `data` declares"
        ))),
        Some((_, is)) if is != format => Err(Error::new(format_args!(
            "the data source `{name}` has the format {is}, expected {format}"
        ))),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Data};

    #[test]
    fn sets_hold_what_their_sources_do() {
        let hash = InfoHash::from_bytes([1; 20]);
        testing::set_data("hashes", Data::InfoHashes(vec![hash]));
        let ranges = [("10.0.0.0", 8, 1), ("10.1.0.0", 16, 2), ("2001:db8::", 32, 0)];
        let ranges = ranges.map(|(first, prefix, value)| (first.parse().unwrap(), prefix, value));
        testing::set_data("ranges", Data::Addresses(ranges.into()));
        testing::set_data("texts", Data::Strings(vec!["a".into()]));
        let hashes = InfoHashes::try_from("hashes".to_owned()).unwrap();
        assert!(hashes.contains(hash) && !hashes.contains(InfoHash::from_bytes([2; 20])));
        let ranges = Addresses::try_from("ranges".to_owned()).unwrap();
        let find = |address: &str| ranges.find(address.parse().unwrap());
        assert_eq!(
            (find("10.2.0.1"), find("10.1.2.3"), find("11.0.0.0")),
            (Some(1), Some(2), None)
        );
        assert_eq!((find("2001:db8::1"), find("::a01:203")), (Some(0), None));
        let texts = Strings::try_from("texts".to_owned()).unwrap();
        assert!(texts.contains("a") && !texts.contains("b"));
        testing::set_data("texts", Data::Strings(vec!["b".into()]));
        assert!(!texts.contains("a") && texts.contains("b"), "a set follows its source");
        let begins = |bytes: &[u8]| texts.contains_beginning_of(bytes);
        assert!(begins(b"b") && begins(b"bc\xff") && !begins(b"ab") && !begins(b"\xffb"));
    }

    #[test]
    fn raw_sources_can_be_asked_for_again() {
        testing::set_data("keys", Data::Raw);
        let keys = Raw::try_from("keys".to_owned()).unwrap();
        assert_eq!((keys.name(), testing::refreshed("keys")), ("keys", 0));
        keys.refresh();
        assert_eq!(testing::refreshed("keys"), 1);
    }

    #[test]
    fn a_source_must_be_declared_in_the_right_format() {
        testing::set_data("texts", Data::Strings(Vec::new()));
        let wrong = |name: &str| InfoHashes::try_from(name.to_owned()).unwrap_err().to_string();
        assert_eq!(
            wrong("text"),
            "there is no data source `text`, expected one that `data` declares"
        );
        assert_eq!(
            wrong("texts"),
            "the data source `texts` has the format strings, expected info-hashes"
        );
        testing::set_data("text", Data::Raw);
        assert_eq!(Raw::try_from("text".to_owned()).unwrap().name(), "text");
        assert_eq!(
            Raw::try_from("texts".to_owned()).unwrap_err().to_string(),
            "the data source `texts` has the format strings, expected raw"
        );
    }
}
