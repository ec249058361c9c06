//! The parameters of a query: their positions, and their unescaped values.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use super::Invalid;

/// The positions of the parameters of one query. Reused for the next query.
///
/// `&` and `;` separate parameters, `+` is a space, and the last of a repeated parameter counts.
#[derive(Debug, Default)]
pub struct Parameters(Vec<Pair>);

/// Offsets into the query.
#[derive(Debug)]
struct Pair {
    start: usize,
    /// Of the first `=`; without one, the whole parameter is the key.
    equals: usize,
    end: usize,
    is_plain: bool,
}

/// One parameter, still escaped.
pub(super) struct Parameter<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// The key has only lower-case letters, digits and `_`, so it needs no unescaping.
    pub is_plain: bool,
}

/// The value of a parameter.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// A range of the query, which has no escapes.
    Plain(Range<usize>),
    /// The unescaped bytes.
    Unescaped(Vec<u8>),
}

impl Parameters {
    /// Finds the parameters of a query.
    pub fn of(query: &[u8]) -> Self {
        let mut parameters = Self::default();
        parameters.split(query);
        parameters
    }

    /// Splits the next query, and skips empty parameters.
    pub fn split(&mut self, query: &[u8]) {
        self.0.clear();
        let mut start = 0;
        while start < query.len() {
            let rest = &query[start..];
            let length = memchr2(b'&', b';', rest).unwrap_or(rest.len());
            let end = start + length;
            if length > 0 {
                let mut seen = 0;
                let equals = rest[..length].iter().position(|&byte| {
                    seen |= CLASSES[usize::from(byte)];
                    seen & EQUALS != 0
                });
                let equals = start + equals.unwrap_or(length);
                let is_plain = seen & OTHER == 0;
                self.0.push(Pair { start, equals, end, is_plain });
            }
            start = end + 1;
        }
    }

    /// Iterates over the parameters of the query that was split, in order.
    pub(super) fn of_query<'a>(&self, query: &'a [u8]) -> impl Iterator<Item = Parameter<'a>> {
        self.0.iter().map(|pair| pair.parameter(query))
    }

    /// Returns the value of a parameter; its name may have any case. Skips pairs with a wrong
    /// escape.
    pub fn get(&self, query: &[u8], name: &str) -> Option<Value> {
        let mut found = None;
        for pair in self.0.iter().filter(|pair| pair.is_named(query, name)) {
            let value = pair.parameter(query).value;
            if memchr2(b'%', b'+', value).is_none() {
                found = Some(Value::Plain(pair.end - value.len()..pair.end));
            } else if let Ok(value) = Unescape(value).collect() {
                found = Some(Value::Unescaped(value));
            }
        }
        found
    }
}

impl Pair {
    fn is_named(&self, query: &[u8], name: &str) -> bool {
        let key = || self.parameter(query).key;
        match self.is_plain {
            // The length rules out most keys without comparing them.
            true => {
                self.equals - self.start == name.len()
                    && key().eq_ignore_ascii_case(name.as_bytes())
            }
            false => stands_for(key(), name),
        }
    }

    fn parameter<'a>(&self, query: &'a [u8]) -> Parameter<'a> {
        Parameter {
            key: query.get(self.start..self.equals).unwrap_or_default(),
            // Without a `=`, this range begins past the end.
            value: query.get(self.equals + 1..self.end).unwrap_or_default(),
            is_plain: self.is_plain,
        }
    }
}

impl Value {
    /// Returns the bytes of a value of `query`.
    pub fn bytes(self, query: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Plain(range) => Cow::Borrowed(query.get(range).unwrap_or_default()),
            Self::Unescaped(bytes) => Cow::Owned(bytes),
        }
    }
}

/// Returns whether a key, unescaped, equals `name`, ignoring case.
fn stands_for(key: &[u8], name: &str) -> bool {
    Unescape(key)
        .map(|byte| byte.map(|byte| byte.to_ascii_lowercase()))
        .eq(name.bytes().map(|byte| Ok(byte.to_ascii_lowercase())))
}

const EQUALS: u8 = 1;
/// Anything but `=`, a lower-case letter, a digit or `_`.
const OTHER: u8 = 2;

const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        match byte as u8 {
            b'=' => classes[byte] = EQUALS,
            b'a'..=b'z' | b'0'..=b'9' | b'_' => classes[byte] = 0,
            _ => {}
        }
        byte += 1;
    }
    classes
};

/// Iterates over the bytes of an escaped text.
pub(super) struct Unescape<'a>(pub &'a [u8]);

/// Smaller than [`Invalid`], so that a byte or this error fits a register.
#[derive(PartialEq)]
pub(super) struct WrongEscape;

impl From<WrongEscape> for Invalid {
    fn from(_: WrongEscape) -> Self {
        Self::Escape
    }
}

impl Iterator for Unescape<'_> {
    type Item = Result<u8, WrongEscape>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (byte, rest) = match *self.0 {
            [] => return None,
            [b'%', high, low, ref rest @ ..] => {
                let (high, low) = (DIGITS[usize::from(high)], DIGITS[usize::from(low)]);
                let byte = if (high | low) < 16 { Ok(high << 4 | low) } else { Err(WrongEscape) };
                (byte, rest)
            }
            [b'%', ref rest @ ..] => (Err(WrongEscape), rest),
            [b'+', ref rest @ ..] => (Ok(b' '), rest),
            [byte, ref rest @ ..] => (Ok(byte), rest),
        };
        self.0 = rest;
        Some(byte)
    }
}

/// The values of hexadecimal digits of either case; 255 for any other character.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// An unescaped text, of which `N` bytes are kept.
pub(super) struct Unescaped<const N: usize> {
    pub bytes: [u8; N],
    /// The length of the whole text.
    pub length: usize,
}

impl<const N: usize> Unescaped<N> {
    /// Returns the text, unless it is longer than `N`.
    pub fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

pub(super) fn unescape<const N: usize>(text: &[u8]) -> Result<Unescaped<N>, WrongEscape> {
    let mut unescaped = Unescaped { bytes: [0; N], length: 0 };
    for byte in Unescape(text) {
        let byte = byte?;
        if let Some(place) = unescaped.bytes.get_mut(unescaped.length) {
            *place = byte;
        }
        unescaped.length += 1;
    }
    Ok(unescaped)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    /// Escapes the bytes that must be escaped, and those that `also` selects, in either case.
    pub fn escape(bytes: &[u8], also: &[bool]) -> String {
        let mut text = String::new();
        for (byte, also) in bytes.iter().zip(also.iter().cycle()) {
            match byte {
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' if !also => {
                    text.push(char::from(*byte));
                }
                b' ' if *also => text.push('+'),
                _ if *also => write!(text, "%{byte:02X}").unwrap(),
                _ => write!(text, "%{byte:02x}").unwrap(),
            }
        }
        text
    }

    fn get<'a>(query: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
        Parameters::of(query).get(query, name).map(|value| value.bytes(query))
    }

    #[test]
    fn the_last_valid_parameter_of_a_name_in_any_case_is_found() {
        let query =
            b"jwt=one&JWT=a.b-c_d&Pass%4bey=k+%31&empty=&bare&bad=%zz&bad2=1&bad2=%&wide=%C3%BC\
              &a+b=c;;&=nobody;%6a=j";
        let text =
            |name| get(query, name).map(|value| String::from_utf8_lossy(&value).into_owned());
        assert!(matches!(get(query, "jwt"), Some(Cow::Borrowed(b"a.b-c_d"))));
        for (name, value) in [
            ("Jwt", Some("a.b-c_d")),
            ("passkey", Some("k 1")),
            ("empty", Some("")),
            ("bare", Some("")),
            ("bad", None),
            ("bad2", Some("1")),
            ("wide", Some("ü")),
            ("A b", Some("c")),
            ("a+b", None),
            ("", Some("nobody")),
            ("J", Some("j")),
            ("jw", None),
            ("jwtx", None),
        ] {
            assert_eq!(text(name).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn nothing_is_left_of_the_previous_query() {
        let mut parameters = Parameters::of(b"jwt=good&port=1");
        parameters.split(b"");
        assert_eq!(parameters.get(b"", "jwt"), None);
        parameters.split(b"port=2");
        assert_eq!(parameters.get(b"port=2", "jwt"), None);
        assert_eq!(parameters.get(b"port=2", "port"), Some(Value::Plain(5..6)));
    }

    proptest! {
        #[test]
        fn escaped_values_come_back(
            before in "[a-z=&;]{0,9}", value: Vec<u8>, also in prop::collection::vec(any::<bool>(), 1..9),
        ) {
            let query = format!("{before}&token={}&port=1", escape(&value, &also));
            let found = get(query.as_bytes(), "token").map(Cow::into_owned);
            prop_assert_eq!(found, Some(value));
        }

        #[test]
        fn no_bytes_panic(query: Vec<u8>, other: Vec<u8>, name: String) {
            let parameters = Parameters::of(&query);
            for query in [&query, &other] {
                let value = parameters.get(query, &name);
                let _ = value.map(|value| value.bytes(query));
            }
        }
    }
}
