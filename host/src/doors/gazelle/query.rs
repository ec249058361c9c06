//! The parameters of a call, as Ocelot reads them: `+` is no blank.

use percent_encoding::percent_decode_str;

/// A query.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(pub &'a str);

impl Query<'_> {
    /// Returns the bytes of the first parameter of a name.
    pub fn bytes(self, name: &str) -> Option<Vec<u8>> {
        let mut pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(percent_decode_str(value).collect())
    }

    /// Returns a parameter; one that is no text is empty, as one that is absent is to Ocelot.
    pub fn text(self, name: &str) -> String {
        String::from_utf8(self.bytes(name).unwrap_or_default()).unwrap_or_default()
    }

    /// Returns a number, unless there is none of that name or it is no number that fits.
    pub fn number<N: std::str::FromStr>(self, name: &str) -> Option<N> {
        self.text(name).parse().ok()
    }

    /// Returns a boolean: whatever is not `0` is true.
    pub fn boolean(self, name: &str) -> bool {
        self.text(name) != "0"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_by_ocelot() {
        let query = Query("a=1&b=%2B+%41&c&d=0&a=2&e=%ff&=7&f=a=b");
        assert_eq!(query.bytes("a").as_deref(), Some(&b"1"[..]));
        assert_eq!(query.text("b"), "++A");
        assert_eq!(query.bytes("c").as_deref(), Some(&b""[..]));
        assert_eq!(
            (query.boolean("d"), query.boolean("a"), query.boolean("x")),
            (false, true, true)
        );
        assert_eq!((query.bytes("e"), query.text("e")), (Some(vec![0xff]), String::new()));
        assert_eq!(query.text("f"), "a=b");
        assert_eq!((query.number("a"), query.number::<u8>("b")), (Some(1_u64), None));
    }
}
