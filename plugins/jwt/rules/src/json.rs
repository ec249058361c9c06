//! JSON objects without duplicate names, as RFC 7515 (section 4) and RFC 7519 (section 4) require.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The maximum number of members of an object. Each is compared with those before it.
const MEMBERS: usize = 100;

/// An object, with its members in the order of the text.
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// A value, reduced to what the rules look at.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    List(Vec<Value<'a>>),
    /// `null`, `true`, `false`, or an object.
    Other,
}

impl<'a> Object<'a> {
    /// Parses an object.
    ///
    /// # Errors
    ///
    /// Fails if the text is not JSON, not an object, or contains a name twice.
    pub fn read(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Returns the value of a name, if it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }
}

impl Value<'_> {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value itself if it is a text, or the texts in it if it is a list.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::List(list) => list,
            one => std::slice::from_ref(one),
        };
        values.iter().filter_map(Value::text)
    }

    /// Returns whether the value is this text, or a list that contains it.
    pub fn names(&self, text: &str) -> bool {
        self.texts().any(|own| own == text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, words: &mut fmt::Formatter) -> fmt::Result {
                words.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, Value)> = Vec::new();
                while let Some(Value::Text(name)) = map.next_key()? {
                    if members.len() == MEMBERS {
                        return Err(de::Error::custom(format!("more than {MEMBERS} members")));
                    }
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(de::Error::custom(format!("duplicate name `{name}`")));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        json.deserialize_map(Members)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value<'de>;
            fn expecting(&self, words: &mut fmt::Formatter) -> fmt::Result {
                words.write_str("a value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Value::Text(text.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Value::Text(text.to_owned().into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Value::Number(number as f64))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Value::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Value::Number(number))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Value::Other)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Value::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Value::List(values))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }
        }
        json.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_as_they_stand() {
        let json = r#" {"a": "b", "é\u0041": [1, "c", {"x": 1, "x": 2}], "n": -1.5, "o": null} "#;
        let object = Object::read(json.as_bytes()).unwrap();
        assert_eq!(object.text("a"), Some("b"));
        let list = [Value::Number(1.0), Value::Text("c".into()), Value::Other];
        assert_eq!(object.get("éA"), Some(&Value::List(list.into())));
        assert_eq!(object.get("n"), Some(&Value::Number(-1.5)));
        assert_eq!(object.get("o"), Some(&Value::Other));
        assert_eq!((object.get("x"), object.text("n")), (None, None));
        assert!(object.get("éA").unwrap().names("c") && !object.get("éA").unwrap().names("1"));
    }

    #[test]
    fn what_is_not_exactly_one_object_is_refused() {
        let members = |many: usize| {
            let members: Vec<_> = (0..many).map(|at| format!("\"{at}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Object::read(members(MEMBERS).as_bytes()).is_ok());
        let deep = "[".repeat(8000);
        let nested = format!("{{\"a\":{deep}");
        let many = members(MEMBERS + 1);
        let wrong: [&[u8]; 14] = [
            b"",
            b"null",
            b"[]",
            b"\"a\"",
            b"{",
            b"{} {}",
            b"{\"a\":1,}",
            b"{a:1}",
            b"{\"a\":1e999}",
            b"{\"a\":\"\xff\"}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":1,\"\\u0061\":1}",
            nested.as_bytes(),
            many.as_bytes(),
        ];
        for json in wrong {
            assert!(Object::read(json).is_err(), "{}", json.escape_ascii());
        }
    }
}
