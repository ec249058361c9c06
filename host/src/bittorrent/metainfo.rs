//! What is read of `.torrent` files (BEP 3): the bytes that the info-hash is of.

/// The bencoded info dictionary, as it stands in the file.
pub fn info(metainfo: &[u8]) -> Option<&[u8]> {
    let mut rest = metainfo.strip_prefix(b"d")?;
    loop {
        let (key, behind) = string(rest)?;
        let value = value(behind)?;
        if key == b"info" {
            return value.starts_with(b"d").then_some(value);
        }
        rest = &behind[value.len()..];
    }
}

/// The value at the beginning.
fn value(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    let mut depth = 0_usize;
    loop {
        rest = match rest.first()? {
            b'd' | b'l' => {
                depth += 1;
                &rest[1..]
            }
            b'e' => {
                depth = depth.checked_sub(1)?;
                &rest[1..]
            }
            b'i' => &rest[memchr::memchr(b'e', rest)? + 1..],
            _ => string(rest)?.1,
        };
        if depth == 0 {
            return Some(&bytes[..bytes.len() - rest.len()]);
        }
    }
}

/// The string at the beginning, and what is behind it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at(memchr::memchr(b':', bytes)?);
    let length = length.iter().all(u8::is_ascii_digit).then_some(length)?;
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    rest[1..].split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_info_dictionary_is_found_as_it_stands() {
        let torrent = b"d8:announce3:url4:infod6:lengthi3e4:name1:ae8:url-listl1:ai-1eee";
        assert_eq!(info(torrent), Some(&b"d6:lengthi3e4:name1:ae"[..]));
        let nested = b"d1:ad4:infod1:xi1eee4:infod1:yi2eee";
        assert_eq!(info(nested), Some(&b"d1:yi2ee"[..]), "that of the outermost dictionary");
    }

    #[test]
    fn what_is_no_torrent_has_none() {
        for file in
            ["", "d", "de", "le", "d4:infoi1ee", "d4:info", "d4:infod", "d9:infode", "d-1:e"]
        {
            assert_eq!(info(file.as_bytes()), None, "{file}");
        }
        assert_eq!(info(format!("d4:info{}", "d".repeat(100_000)).as_bytes()), None);
        assert_eq!(info(b"d99999999999999999999:a"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in "[dlei0-9:a]{0,40}") {
            let _ = info(bytes.as_bytes());
        }
    }
}
