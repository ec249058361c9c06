//! Tokens as they are sent: three parts of base64url (RFC 7515, section 7.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Object, Refusal};

/// The parts of a token, decoded. None of them is to be believed yet.
#[derive(Debug)]
pub struct Token<'a> {
    /// What the signature is of.
    pub signed: &'a str,
    header: Vec<u8>,
    claims: Vec<u8>,
    pub signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// # Errors
    ///
    /// What is wrong with its form. Padding and the other alphabet are no base64url.
    pub fn read(text: &'a str) -> Result<Self, Refusal> {
        let parts = || Refusal::malformed("there are not three parts");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(parts)?;
        let (header, claims) = signed.split_once('.').ok_or_else(parts)?;
        if claims.contains('.') {
            return Err(parts());
        }
        let decode = |name, part: &str| {
            let wrong = |_| Refusal::malformed(format_args!("the {name} is no base64url"));
            URL_SAFE_NO_PAD.decode(part).map_err(wrong)
        };
        Ok(Self {
            signed,
            header: decode("header", header)?,
            claims: decode("payload", claims)?,
            signature: decode("signature", signature)?,
        })
    }

    /// # Errors
    ///
    /// It is no object.
    pub fn header(&self) -> Result<Object<'_>, Refusal> {
        Object::read(&self.header)
            .map_err(|error| Refusal::malformed(format_args!("the header: {error}")))
    }

    /// # Errors
    ///
    /// They are no object.
    pub fn claims(&self) -> Result<Object<'_>, Refusal> {
        Object::read(&self.claims)
            .map_err(|error| Refusal::malformed(format_args!("the claims: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_three_parts_of_base64url() {
        let token = Token::read("e30.eyJhIjoiw78ifQ.-_8").unwrap();
        assert_eq!(token.signed, "e30.eyJhIjoiw78ifQ");
        assert_eq!((&*token.header, &*token.claims), (&b"{}"[..], "{\"a\":\"ÿ\"}".as_bytes()));
        assert_eq!(token.signature, [0xfb, 0xff]);
        assert!(Token::read("e30.e30.").is_ok(), "what a signature must be is for others to say");

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
                let error = Token::read(&parts.join(".")).unwrap_err().why;
                assert!(error.ends_with("no base64url"), "{what}: {error}");
            }
        }
    }
}
