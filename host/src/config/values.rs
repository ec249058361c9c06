//! The scalars of the schema: how each is written and parsed.

use std::{
    fmt::{self, Write as _},
    io,
    marker::PhantomData,
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    str::FromStr,
    time::Duration,
};

use hex::FromHex;
use ipnet::IpNet;
use karuta_bittorrent::canonical_socket;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor, value::MapAccessDeserializer},
};
use url::{Host, Url};

use crate::export::Prefix;

use crate::text;

const DURATION: &str = "a number with a unit such as 30s, 5m, 1h";
const SIZE: &str = "a number with a unit such as 512B, 64KiB, 16MiB, 1GiB";
const LISTEN: &str = "an address with a port such as 0.0.0.0:6969, or [::]:6969 for all addresses";
const SERVER: &str = "a host with a port such as 10.0.0.1:6379 or [fd00::1]:6379";
const NETWORK: &str = "an address range such as 10.0.0.0/8 or fd00::/8";
const URL: &str = "one such as https://example.com/list, without a fragment";
const ALLOWED_URL: &str = "an origin and a path such as https://example.com/api";
const RATE: &str = "a number from 1 to 1000000 for each second, such as 1000/s";
const SHARE: &str = "one in a number such as 1/1000";
const PREFIX: &str = "the first hexadecimal digits of info-hashes, at most 40";
const SHA256: &str = "64 hexadecimal digits";
const CREDENTIAL: &str = "query:NAME, path:NAME or header:NAME";
/// What is written in place of a secret.
pub(super) const HIDDEN: &str = "***";

/// Ten years: far above every sensible setting, and far below the 31 bits that BEP 15 leaves for
/// seconds.
const MAX_DURATION: Duration = Duration::from_hours(10 * 365 * 24);
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const MAX_RATE: u32 = 1_000_000;

/// Parses a text with `parse`; `what` and `expected` go into the error.
fn from_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    what: &'static str,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    from_shown(deserializer, what, expected, parse, str::to_owned)
}

/// As [`from_text`]; `show` writes a text that is not accepted into the error.
fn from_shown<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    what: &'static str,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
    show: fn(&str) -> String,
) -> Result<T, D::Error> {
    struct Text<T> {
        what: &'static str,
        expected: &'static str,
        parse: fn(&str) -> Option<T>,
        show: fn(&str) -> String,
        value: PhantomData<T>,
    }
    impl<T> Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.parse)(text).ok_or_else(|| {
                let text = (self.show)(text);
                E::custom(format!("invalid {} `{text}`, expected {}", self.what, self.expected))
            })
        }
    }
    deserializer.deserialize_str(Text { what, expected, parse, show, value: PhantomData })
}

/// Parses a number with a unit, such as 30s.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    from_text(deserializer, "duration", DURATION, parse_duration)
}

pub(super) fn write_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show_duration(*duration))
}

pub(super) fn write_some_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(show_duration).serialize(serializer)
}

/// Writes what is switched off as `false`.
pub(super) fn write_unless_false<S: Serializer, T: Serialize>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_bool(false),
    }
}

/// Writes a URL, and hides its query, which may be a secret. It has no user.
pub(super) fn write_url<S: Serializer>(
    url: &Option<Url>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let hidden = url.clone().map(|mut url| {
        if url.query().is_some() {
            url.set_query(Some(HIDDEN));
        }
        String::from(url)
    });
    hidden.serialize(serializer)
}

/// Writes one in so many, as [`share`] reads it.
pub(super) fn write_share<S: Serializer>(
    share: &Option<NonZeroU32>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    share.map(|many| format!("1/{many}")).serialize(serializer)
}

pub(super) fn write_urls<S: Serializer>(urls: &[Url], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(urls.iter().map(Url::as_str))
}

pub(super) fn write_networks<S: Serializer>(
    networks: &[IpNet],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(networks.iter().map(IpNet::to_string))
}

pub(super) fn write_sha256<S: Serializer>(
    digest: &Option<[u8; 32]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    digest.map(hex::encode).serialize(serializer)
}

/// Parses what may be switched off with `false`.
pub(super) fn unless_false<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct UnlessFalse<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for UnlessFalse<T> {
        type Value = Option<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping, or false")
        }
        fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
            if on { Err(E::invalid_type(Unexpected::Bool(on), &self)) } else { Ok(None) }
        }
        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(UnlessFalse(PhantomData))
}

/// Whether a list can be edited, and how long edits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EditMode {
    #[default]
    Off,
    /// Until the list says the same.
    On,
    /// Until the list is read anew, or the configuration.
    UntilReload,
}

impl Serialize for EditMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On => serializer.serialize_bool(true),
            Self::UntilReload => serializer.serialize_str("until-reload"),
        }
    }
}

impl<'de> Deserialize<'de> for EditMode {
    /// Parses `true`, `false` or `until-reload`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfEdits;
        impl Visitor<'_> for OfEdits {
            type Value = EditMode;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or until-reload")
            }
            fn visit_bool<E: de::Error>(self, on: bool) -> Result<EditMode, E> {
                Ok(if on { EditMode::On } else { EditMode::Off })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<EditMode, E> {
                match text {
                    "until-reload" => Ok(EditMode::UntilReload),
                    _ => Err(E::custom(format!(
                        "unknown value `{text}`, expected true, false or until-reload"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(OfEdits)
    }
}

pub(super) fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

pub(super) fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let parse = |text: &str| {
        let url = Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.fragment().is_none()).then_some(url)
    };
    from_shown(deserializer, "URL", URL, parse, without_secrets).map(Some)
}

/// Hides what of a URL may be secret, whether or not it is one: its user and its query.
fn without_secrets(url: &str) -> String {
    let (rest, query) = url.split_once('?').map_or((url, ""), |(rest, _)| (rest, "?***"));
    match rest.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)))
    {
        Some((scheme, host)) => format!("{scheme}://***@{host}{query}"),
        None => format!("{rest}{query}"),
    }
}

pub(super) fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Url>, D::Error> {
    struct Item(Url);
    impl<'de> Deserialize<'de> for Item {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let parse = |text: &str| {
                let url = Url::parse(text).ok()?;
                let plain = url.query().is_none() && url.fragment().is_none();
                let no_user = url.username().is_empty() && url.password().is_none();
                let web = matches!(url.scheme(), "http" | "https");
                (web && plain && no_user).then(|| canonical_url(url))
            };
            from_shown(deserializer, "URL", ALLOWED_URL, parse, without_secrets).map(Self)
        }
    }
    let urls = Vec::<Item>::deserialize(deserializer)?;
    Ok(urls.into_iter().map(|Item(url)| url).collect())
}

/// Canonicalises the host of a URL if it is an address.
pub fn canonical_url(mut url: Url) -> Url {
    if let Some(Host::Ipv6(address)) = url.host()
        && let Some(ipv4) = address.to_ipv4_mapped()
    {
        // Setting an address as the host of an HTTP URL never fails.
        let _ = url.set_ip_host(ipv4.into());
    }
    url
}

pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    from_text(deserializer, "size", SIZE, parse_size)
}

pub(super) fn size_in_memory<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<usize, D::Error> {
    from_text(deserializer, "size", SIZE, |text| parse_size(text)?.try_into().ok())
}

/// Parses a number for each second, such as `1000/s`.
pub(super) fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    let parse = |text: &str| {
        let number: NonZeroU32 = text.strip_suffix("/s")?.parse().ok()?;
        (number.get() <= MAX_RATE).then_some(number)
    };
    from_text(deserializer, "rate", RATE, parse)
}

/// Parses a share such as `1/1000`.
pub(super) fn share<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<NonZeroU32>, D::Error> {
    let parse = |text: &str| text.strip_prefix("1/")?.parse().ok();
    from_text(deserializer, "share", SHARE, parse).map(Some)
}

pub(super) fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Prefix, D::Error> {
    from_text(deserializer, "prefix", PREFIX, |text| text.parse().ok())
}

pub(super) fn write_prefix<S: Serializer>(
    prefix: &Prefix,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(prefix)
}

pub(super) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    from_text(deserializer, "address", LISTEN, |text| text.parse().ok().map(canonical_socket))
}

pub(super) fn server<'de, S: FromStr, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<S, D::Error> {
    from_text(deserializer, "address", SERVER, |text| text.parse().ok())
}

pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    struct Network(IpNet);
    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            from_text(deserializer, "address range", NETWORK, text::network).map(Self)
        }
    }
    let networks = Vec::<Network>::deserialize(deserializer)?;
    Ok(networks.into_iter().map(|Network(network)| network).collect())
}

pub(super) fn sha256<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<[u8; 32]>, D::Error> {
    struct Digest([u8; 32]);
    impl<'de> Deserialize<'de> for Digest {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let parse = |text: &str| FromHex::from_hex(text).ok();
            from_text(deserializer, "digest", SHA256, parse).map(Self)
        }
    }
    let digest = Option::<Digest>::deserialize(deserializer)?;
    Ok(digest.map(|Digest(bytes)| bytes))
}

/// Parses numbers with units, the larger unit first: `1h30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let (_, milliseconds) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*milliseconds)?)?;
        rest = after;
        if rest.is_empty() {
            let duration = Duration::from_millis(total);
            return (duration <= MAX_DURATION).then_some(duration);
        }
    }
}

/// Formats a duration as in a configuration, without fractions of a millisecond.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, milliseconds) in UNITS {
        if rest >= milliseconds {
            let _ = write!(text, "{}{unit}", rest / milliseconds);
            rest %= milliseconds;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(bytes)
}

/// Returns whether a name is one of 1 to 40 of `a` to `z`, `0` to `9` and `-`.
pub(super) fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len()) && name.bytes().all(letter)
}

/// Returns whether `name` is a valid HTTP header name (RFC 9110, a token).
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// One place to look for a policy's credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialRule {
    /// A parameter of the query.
    Query(String),
    /// A parameter of the route.
    Path(String),
    /// A header of the request; the name in lower case.
    Header(String),
}

impl CredentialRule {
    fn parse(text: &str) -> Option<Self> {
        let (place, name) = text.split_once(':')?;
        match place {
            "query" if !name.is_empty() => Some(Self::Query(name.to_owned())),
            "path" if !name.is_empty() => Some(Self::Path(name.to_owned())),
            "header" if is_header_name(name) => Some(Self::Header(name.to_ascii_lowercase())),
            _ => None,
        }
    }
}

impl Serialize for CredentialRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (place, name) = match self {
            Self::Query(name) => ("query", name),
            Self::Path(name) => ("path", name),
            Self::Header(name) => ("header", name),
        };
        serializer.collect_str(&format_args!("{place}:{name}"))
    }
}

impl<'de> Deserialize<'de> for CredentialRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "credential rule", CREDENTIAL, Self::parse)
    }
}

/// Formats `error` about `file` as in a configuration error.
pub(super) fn unreadable(file: &Path, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        format!("no such file: `{}`", file.display())
    } else {
        format!("cannot read `{}`: {error}", file.display())
    }
}
