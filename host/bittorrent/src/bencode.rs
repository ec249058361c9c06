//! A bencode writer (BEP 3).

/// Appends bencode to a buffer.
///
/// The caller ensures that keys are sorted and unique, and that every list and dictionary is ended.
pub struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    /// Creates a writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    /// Begins a dictionary, whose keys must follow in order.
    pub fn begin_dictionary(&mut self) {
        self.0.push(b'd');
    }

    /// Begins a list.
    pub fn begin_list(&mut self) {
        self.0.push(b'l');
    }

    /// Ends the innermost dictionary or list.
    pub fn end(&mut self) {
        self.0.push(b'e');
    }

    /// Writes an integer.
    pub fn integer(&mut self, value: impl Into<u64>) {
        self.0.push(b'i');
        self.decimal(value.into());
        self.0.push(b'e');
    }

    /// Writes a string of any bytes. Dictionary keys are strings too.
    pub fn string(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.decimal(value.len() as u64);
        self.0.push(b':');
        self.0.extend_from_slice(value);
    }

    fn decimal(&mut self, mut value: u64) {
        // Most lengths of keys have one digit.
        if value < 10 {
            return self.0.push(b'0' + value as u8);
        }
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[first..]);
    }
}

/// A reader for tests that accepts only canonical bencode.
#[cfg(test)]
pub(super) mod reader {
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub enum Value {
        Integer(u64),
        String(Vec<u8>),
        List(Vec<Value>),
        Dictionary(Vec<(Vec<u8>, Value)>),
    }

    impl Value {
        /// Returns the value of a key.
        pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Value> {
            let Self::Dictionary(entries) = self else { panic!("{self:?} is not a dictionary") };
            entries.iter().find(|entry| entry.0 == key.as_ref()).map(|entry| &entry.1)
        }
    }

    /// Reads exactly one value: keys strictly ascending, numbers without leading zeros, nothing
    /// after it.
    pub fn read(mut bytes: &[u8]) -> Result<Value, &'static str> {
        let value = value(&mut bytes)?;
        if bytes.is_empty() { Ok(value) } else { Err("bytes after the value") }
    }

    fn value(bytes: &mut &[u8]) -> Result<Value, &'static str> {
        match bytes.first() {
            Some(b'i') => {
                *bytes = &bytes[1..];
                number(bytes, b'e').map(Value::Integer)
            }
            Some(b'0'..=b'9') => string(bytes).map(Value::String),
            Some(b'l') => {
                *bytes = &bytes[1..];
                let mut items = Vec::new();
                while !ended(bytes) {
                    items.push(value(bytes)?);
                }
                Ok(Value::List(items))
            }
            Some(b'd') => {
                *bytes = &bytes[1..];
                let mut entries: Vec<(Vec<u8>, Value)> = Vec::new();
                while !ended(bytes) {
                    let key = string(bytes)?;
                    if entries.last().is_some_and(|last| last.0 >= key) {
                        return Err("keys not strictly ascending");
                    }
                    entries.push((key, value(bytes)?));
                }
                Ok(Value::Dictionary(entries))
            }
            _ => Err("no value"),
        }
    }

    fn ended(bytes: &mut &[u8]) -> bool {
        let ended = bytes.first() == Some(&b'e');
        if ended {
            *bytes = &bytes[1..];
        }
        ended
    }

    fn string(bytes: &mut &[u8]) -> Result<Vec<u8>, &'static str> {
        let length = usize::try_from(number(bytes, b':')?).map_err(|_| "length")?;
        let (string, rest) = bytes.split_at_checked(length).ok_or("short string")?;
        *bytes = rest;
        Ok(string.to_vec())
    }

    fn number(bytes: &mut &[u8], end: u8) -> Result<u64, &'static str> {
        let length = bytes.iter().position(|&byte| byte == end).ok_or("endless number")?;
        let digits = &bytes[..length];
        *bytes = &bytes[length + 1..];
        if !digits.iter().all(u8::is_ascii_digit) || (length > 1 && digits[0] == b'0') {
            return Err("not a canonical number");
        }
        let digits = std::str::from_utf8(digits).map_err(|_| "not a number")?;
        digits.parse().map_err(|_| "not a number")
    }
}

#[cfg(test)]
mod tests {
    use super::Writer;
    use super::reader::{Value, read};
    use proptest::prelude::*;

    fn write(value: &Value, writer: &mut Writer) {
        match value {
            Value::Integer(integer) => writer.integer(*integer),
            Value::String(string) => writer.string(string),
            Value::List(items) => {
                writer.begin_list();
                items.iter().for_each(|item| write(item, writer));
                writer.end();
            }
            Value::Dictionary(entries) => {
                writer.begin_dictionary();
                for (key, value) in entries {
                    writer.string(key);
                    write(value, writer);
                }
                writer.end();
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u64>().prop_map(Value::Integer),
            any::<Vec<u8>>().prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::btree_map(any::<Vec<u8>>(), inner, 0..6)
                    .prop_map(|map| Value::Dictionary(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any_value()) {
            let mut out = Vec::new();
            write(&value, &mut Writer::new(&mut out));
            prop_assert_eq!(read(&out), Ok(value));
        }
    }

    #[test]
    fn the_smallest_and_largest_integers_are_written() {
        for (value, text) in [(0, "i0e"), (10, "i10e"), (u64::MAX, "i18446744073709551615e")] {
            let mut out = Vec::new();
            Writer::new(&mut out).integer(value);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn the_reader_rejects_what_is_not_canonical() {
        for wrong in ["d1:bi0e1:ai0ee", "d1:ai0e1:ai0ee", "i01e", "02:ab", "3:ab", "le0:", "l", ""]
        {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
