//! The claim that names the torrent, in every form that any version of chihaya has accepted.

/// Parses the info-hash that a claim names: 40 hexadecimal digits; 64, of which the first 40 count
/// (BEP 52); 20 characters up to U+00FF that each stand for a byte; or URL-escaped, as in the query
/// of an announce. No text has two meanings.
pub fn info_hash(claim: &str) -> Option<[u8; 20]> {
    hex(claim).or_else(|| raw(claim)).or_else(|| url_escaped(claim))
}

fn hex(claim: &str) -> Option<[u8; 20]> {
    let mut digits = claim.chars();
    let mut bytes = [0; 20];
    for byte in &mut bytes {
        *byte = pair(&mut digits)?;
    }
    match digits.as_str() {
        "" => Some(bytes),
        rest if rest.len() == 24 && rest.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Some(bytes)
        }
        _ => None,
    }
}

/// Parses a byte from two hexadecimal digits of either case.
fn pair(digits: &mut impl Iterator<Item = char>) -> Option<u8> {
    let mut digit = || digits.next()?.to_digit(16);
    let (high, low) = (digit()?, digit()?);
    u8::try_from(high << 4 | low).ok()
}

fn raw(claim: &str) -> Option<[u8; 20]> {
    let mut characters = claim.chars();
    let mut bytes = [0; 20];
    for byte in &mut bytes {
        *byte = u8::try_from(characters.next()?).ok()?;
    }
    characters.next().is_none().then_some(bytes)
}

fn url_escaped(claim: &str) -> Option<[u8; 20]> {
    let mut rest = claim.chars();
    let mut bytes = [0; 20];
    for byte in &mut bytes {
        *byte = match rest.next()? {
            '%' => pair(&mut rest)?,
            '+' => b' ',
            plain => u8::try_from(plain).ok().filter(u8::is_ascii)?,
        };
    }
    rest.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: [u8; 20] = *b"\x00 %+aZ~\x7f\x80\xa9\xff\"\\\n&=\xe9\x1f\xc3\xa9";

    #[test]
    fn every_form_of_every_version_is_understood() {
        let hex = HASH.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(info_hash(&hex), Some(HASH));
        assert_eq!(info_hash(&hex.to_uppercase()), Some(HASH));
        assert_eq!(info_hash(&format!("{hex}{}", "aB".repeat(12))), Some(HASH), "of BEP 52");
        let raw: String = HASH.map(char::from).iter().collect();
        assert_eq!(info_hash(&raw), Some(HASH));
        let all = HASH.map(|byte| format!("%{byte:02X}")).concat();
        assert_eq!(info_hash(&all), Some(HASH));
        assert_eq!(info_hash(&all.to_lowercase()), Some(HASH));
        // As Go's url.QueryEscape writes it.
        let go = "%00+%25%2BaZ~%7F%80%A9%FF%22%5C%0A%26%3D%E9%1F%C3%A9";
        assert_eq!(info_hash(go), Some(HASH));
    }

    #[test]
    fn nothing_else_is() {
        let wrong = [
            "",
            "aaaaaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaaaaaĀ",
            "%61%61%61%61%61%61%61%61%61%61%61%61%61%61%61%61%61%61%61",
            "%61aaaaaaaaaaaaaaaaaaaa",
            "%6aaaaaaaaaaaaaaaaaaa",
            "%6",
            "%g1aaaaaaaaaaaaaaaaaaa",
            "%61éaaaaaaaaaaaaaaaaaa",
            "a94a8fe5ccb19ba61c4c0873d391e987982fbbd",
            "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3a94a8fe5ccb19ba61c4c0873d391e98",
            "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3a94a8fe5ccb19ba61c4c087g",
            "0xa94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
            " a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
        ];
        for claim in wrong {
            assert_eq!(info_hash(claim), None, "{claim}");
        }
    }

    proptest! {
        #[test]
        fn every_info_hash_comes_back_from_every_form(hash: [u8; 20]) {
            let hex = hash.map(|byte| format!("{byte:02x}")).concat();
            let raw: String = hash.map(char::from).iter().collect();
            let escaped = hash.map(|byte| format!("%{byte:02x}")).concat();
            for form in [hex, raw, escaped] {
                prop_assert_eq!(info_hash(&form), Some(hash));
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = info_hash(&text);
        }
    }
}
