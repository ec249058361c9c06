//! The text formats: one entry a line. Blank lines, and what follows a `#` at the start of a line or
//! behind a blank, are skipped. A line may end with CRLF.

use std::net::IpAddr;

use ipnet::IpNet;

use super::set::{Addresses, InfoHashes, Strings};
use crate::bittorrent::canonical;

/// Bytes of a line that an error shows.
const SHOWN: usize = 60;

/// Info-hashes as 40 hexadecimal digits of either case.
///
/// # Errors
///
/// The number of the first line that is none, counted from 1, and what it is.
pub fn info_hashes(bytes: &[u8]) -> Result<InfoHashes, String> {
    let mut entries = Vec::with_capacity(bytes.len() / 41);
    lines(bytes, |line| {
        let info_hash = parse_info_hash(line).ok_or("40 hexadecimal digits")?;
        entries.push(info_hash);
        Ok(())
    })?;
    Ok(InfoHashes::new(entries))
}

/// Addresses or ranges of them (`192.0.2.0/24`), each with a number behind a blank or without.
///
/// # Errors
///
/// As [`info_hashes`].
pub fn addresses(bytes: &[u8]) -> Result<Addresses, String> {
    const EXPECTED: &str = "an address or a range such as 192.0.2.0/24, with or without a number";
    let mut entries = Vec::new();
    lines(bytes, |line| {
        let text = std::str::from_utf8(line).map_err(|_| EXPECTED)?;
        let mut words = text.split_ascii_whitespace();
        let network = words.next().and_then(parse_network).ok_or(EXPECTED)?;
        let value = match words.next() {
            None => 0,
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().map_err(|_| "a number of at most 64 bits")?
            }
            Some(_) => return Err(EXPECTED),
        };
        if words.next().is_some() {
            return Err(EXPECTED);
        }
        entries.push((network, value));
        Ok(())
    })?;
    Ok(Addresses::new(entries))
}

/// Any UTF-8.
///
/// # Errors
///
/// As [`info_hashes`].
pub fn strings(bytes: &[u8]) -> Result<Strings, String> {
    let mut entries = Vec::new();
    lines(bytes, |line| {
        entries.push(Box::from(std::str::from_utf8(line).map_err(|_| "UTF-8")?));
        Ok(())
    })?;
    Ok(Strings::new(entries))
}

/// Hands over each entry; an error of `take` is what was expected.
fn lines<'b>(
    bytes: &'b [u8],
    mut take: impl FnMut(&'b [u8]) -> Result<(), &'static str>,
) -> Result<(), String> {
    let mut rest = bytes;
    let mut number = 0_usize;
    while !rest.is_empty() {
        number += 1;
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = entry(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
        if line.is_empty() {
            continue;
        }
        take(line).map_err(|expected| {
            let shown = line[..line.len().min(SHOWN)].escape_ascii();
            format!("line {number}: `{shown}`, expected {expected}")
        })?;
    }
    Ok(())
}

/// A line without its comment, and without the blanks around what is left.
fn entry(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let comment = memchr::memchr_iter(b'#', line).find(|at| *at == 0 || blank(&line[at - 1]));
    line[..comment.unwrap_or(line.len())].trim_ascii()
}

fn parse_info_hash(text: &[u8]) -> Option<[u8; 20]> {
    let digits: &[u8; 40] = text.try_into().ok()?;
    let mut info_hash = [0; 20];
    for (byte, pair) in info_hash.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(info_hash)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// A range of IPv4-mapped addresses is one of IPv4.
fn parse_network(text: &str) -> Option<IpNet> {
    let network =
        text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let network = network.trunc();
    match network {
        IpNet::V6(range) if range.prefix_len() >= 96 => match canonical(range.network().into()) {
            IpAddr::V4(address) => IpNet::new(address.into(), range.prefix_len() - 96).ok(),
            IpAddr::V6(_) => Some(network),
        },
        _ => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";

    #[test]
    fn comments_blanks_and_line_ends() {
        let text = "# a list\r\n\r\n one # the first\r\n\t two\t#\n#three\nfour#4\n  # five\nsix";
        let strings = strings(text.as_bytes()).unwrap();
        for entry in ["one", "two", "four#4", "six"] {
            assert!(strings.contains(entry), "{entry}");
        }
        assert_eq!(strings.len(), 4);
    }

    #[test]
    fn info_hashes_of_either_case() {
        let text = format!("{}\n{A} # again\n", A.to_uppercase());
        let set = info_hashes(text.as_bytes()).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.contains(&parse_info_hash(A.as_bytes()).unwrap()));
    }

    #[test]
    fn addresses_with_and_without_a_number() {
        let text = "10.0.0.0/8\n10.1.2.3/16 7\n2001:db8::/32\t18446744073709551615 # most\n\
                    ::ffff:192.0.2.0/120 3\n::1";
        let set = addresses(text.as_bytes()).unwrap();
        let find = |address: &str| set.find(address.parse().unwrap());
        assert_eq!(find("10.2.0.1"), Some(0));
        assert_eq!(find("10.1.255.255"), Some(7));
        assert_eq!(find("2001:db8::1"), Some(u64::MAX));
        assert_eq!(find("192.0.2.255"), Some(3));
        assert_eq!(find("192.0.3.0"), None);
        assert_eq!((find("::1"), find("::2")), (Some(0), None));
        assert_eq!(set.len(), 5);
    }

    #[test]
    fn the_first_wrong_line_is_named() {
        const ADDRESS: &str =
            "an address or a range such as 192.0.2.0/24, with or without a number";
        let wrong = |result: Result<usize, String>| result.unwrap_err();
        let hash = |text: &str| wrong(info_hashes(text.as_bytes()).map(|set| set.len()));
        assert_eq!(
            hash(&format!("{A}\r\n\r\n{}\r\n", &A[1..])),
            format!("line 3: `{}`, expected 40 hexadecimal digits", &A[1..])
        );
        assert_eq!(hash("x y"), "line 1: `x y`, expected 40 hexadecimal digits");
        let net = |text: &str| wrong(addresses(text.as_bytes()).map(|set| set.len()));
        for text in ["10.0.0.0/33", "10.0.0", "10.0.0.1 +1", "10.0.0.1 x", "10.0.0.1 1 2"] {
            assert_eq!(net(text), format!("line 1: `{text}`, expected {ADDRESS}"));
        }
        assert_eq!(
            net("\n::1 18446744073709551616"),
            "line 2: `::1 18446744073709551616`, expected a number of at most 64 bits"
        );
        let bytes = strings(b"a\n\xff\n").map(|set| set.len());
        assert_eq!(wrong(bytes), "line 2: `\\xff`, expected UTF-8");
        assert!(hash(&"y".repeat(10_000)).len() < 150, "a long line is cut");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = (info_hashes(&bytes), addresses(&bytes), strings(&bytes));
        }

        #[test]
        fn info_hashes_come_back(hashes in prop::collection::vec(any::<[u8; 20]>(), 0..40)) {
            let text: String = hashes.iter().map(|hash| {
                hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n"
            }).collect();
            let set = info_hashes(text.as_bytes()).unwrap();
            prop_assert!(hashes.iter().all(|hash| set.contains(hash)));
        }
    }
}
