//! Reads bencoded answers, and insists on BEP 3: sorted keys, and nothing after the value.

use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Integer(i64),
    Text(Vec<u8>),
    List(Vec<Value>),
    Dictionary(BTreeMap<Vec<u8>, Value>),
}

/// Reads one value. Panics if it is not valid.
#[track_caller]
pub fn read(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let value = value(&mut rest);
    assert!(rest.is_empty(), "bytes behind the value: {}", bytes.escape_ascii());
    value.unwrap_or_else(|| panic!("not bencode: {}", bytes.escape_ascii()))
}

impl Value {
    /// Returns the value of a dictionary's key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dictionary(entries) => entries.get(key.as_bytes()),
            _ => None,
        }
    }

    /// Returns the number under a key, which must exist.
    #[track_caller]
    pub fn integer(&self, key: &str) -> i64 {
        match self.get(key) {
            Some(Self::Integer(number)) => *number,
            other => panic!("{key} is {other:?} in {self:?}"),
        }
    }

    /// Returns the text under a key, if there is one.
    pub fn text(&self, key: &str) -> Option<String> {
        self.bytes(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Returns the bytes under a key, if there are any.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        match self.get(key) {
            Some(Self::Text(bytes)) => Some(bytes),
            _ => None,
        }
    }
}

fn value(rest: &mut &[u8]) -> Option<Value> {
    let (first, behind) = rest.split_first()?;
    match first {
        b'i' => {
            *rest = behind;
            number(rest, b'e').map(Value::Integer)
        }
        b'0'..=b'9' => text(rest).map(Value::Text),
        b'l' => {
            *rest = behind;
            let mut items = Vec::new();
            while !end(rest) {
                items.push(value(rest)?);
            }
            Some(Value::List(items))
        }
        b'd' => {
            *rest = behind;
            let mut entries = BTreeMap::new();
            while !end(rest) {
                let key = text(rest)?;
                let sorted = entries.last_key_value().is_none_or(|(last, _)| *last < key);
                assert!(sorted, "{} is out of order", key.escape_ascii());
                entries.insert(key, value(rest)?);
            }
            Some(Value::Dictionary(entries))
        }
        _ => None,
    }
}

fn end(rest: &mut &[u8]) -> bool {
    rest.strip_prefix(b"e").map(|behind| *rest = behind).is_some()
}

fn number(rest: &mut &[u8], end: u8) -> Option<i64> {
    let at = rest.iter().position(|byte| *byte == end)?;
    let number = std::str::from_utf8(&rest[..at]).ok()?.parse().ok();
    *rest = &rest[at + 1..];
    number
}

fn text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(number(rest, b':')?).ok()?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(text.to_vec())
}
