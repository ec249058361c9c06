//! Encoded tokens: three parts of base64url (RFC 7515, section 7.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Cause, Object, Refusal};

/// The parts of a token, all decoded except the header. None of them has been verified.
#[derive(Debug)]
pub struct Token<'a> {
    /// The text that is signed.
    pub signed: &'a str,
    /// For [`Header::read`]. Most tokens of a key have the same header, which need not be decoded
    /// each time.
    pub header: &'a str,
    claims: Vec<u8>,
    pub signature: Vec<u8>,
}

/// How a token claims to be signed.
pub struct Header {
    pub(crate) alg: String,
    /// The name of the key.
    pub kid: Option<String>,
}

impl<'a> Token<'a> {
    /// Splits a token and decodes its parts.
    ///
    /// # Errors
    ///
    /// Fails if the form is wrong. Padding and the other alphabet are not base64url.
    pub fn read(text: &'a str) -> Result<Self, Refusal> {
        let parts = || Refusal::malformed("there are not three parts");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(parts)?;
        let (header, claims) = signed.split_once('.').ok_or_else(parts)?;
        if claims.contains('.') {
            return Err(parts());
        }
        Ok(Self {
            signed,
            header,
            claims: decode("payload", claims)?,
            signature: decode("signature", signature)?,
        })
    }

    /// Parses the claims.
    ///
    /// # Errors
    ///
    /// Fails if they are not an object.
    pub fn claims(&self) -> Result<Object<'_>, Refusal> {
        Object::read(&self.claims)
            .map_err(|error| Refusal::malformed(format_args!("the claims: {error}")))
    }
}

impl Header {
    /// Decodes the header of a token.
    ///
    /// # Errors
    ///
    /// Fails if it is not base64url of an object, or has a `crit`. No critical header is supported.
    pub fn read(encoded: &str) -> Result<Self, Refusal> {
        let json = decode("header", encoded)?;
        let object = Object::read(&json)
            .map_err(|error| Refusal::malformed(format_args!("the header: {error}")))?;
        if object.get("crit").is_some() {
            return Err(Refusal::new(Cause::Critical, "crit: no critical header is supported"));
        }
        let text = |name| object.text(name).map(str::to_owned);
        Ok(Self { alg: text("alg").unwrap_or_default(), kid: text("kid") })
    }
}

fn decode(name: &str, part: &str) -> Result<Vec<u8>, Refusal> {
    let wrong = |_| Refusal::malformed(format_args!("the {name} is not base64url"));
    URL_SAFE_NO_PAD.decode(part).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_three_parts_of_base64url() {
        let token = Token::read("e30.eyJhIjoiw78ifQ.-_8").unwrap();
        assert_eq!(token.signed, "e30.eyJhIjoiw78ifQ");
        assert_eq!((token.header, &*token.claims), ("e30", "{\"a\":\"ÿ\"}".as_bytes()));
        assert_eq!(token.signature, [0xfb, 0xff]);
        assert!(Token::read("e30.e30.").is_ok(), "the signature's form is not checked here");

        let parts = ["", "e30", "e30.e30", "e30.e30.aa.aa", "e30.e30.aa.aa.aa"];
        for text in parts {
            assert_eq!(Token::read(text).unwrap_err().why, "there are not three parts", "{text}");
        }
        for (what, wrong) in [
            ("padding", "e30="),
            ("the other alphabet", "+/8"),
            ("bits that are left over", "e31"),
            ("a single letter", "e"),
            ("a blank", "e30 "),
            ("a line break", "e3\n0"),
            ("another letter", "é30"),
        ] {
            for at in 0..3 {
                let mut parts = ["e30"; 3];
                parts[at] = wrong;
                let text = parts.join(".");
                let token = Token::read(&text).and_then(|token| Header::read(token.header));
                let error = token.map(|_| ()).unwrap_err().why;
                assert!(error.ends_with("not base64url"), "{what}: {error}");
            }
        }
    }
}
