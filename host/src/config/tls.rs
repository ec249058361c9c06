//! The certificates of a listener: one mapping, or a list of them.

use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// What a listener needs for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Never empty. The first is for clients that name no host, or one that is in no certificate.
    pub certificates: Vec<CertificateFiles>,
    is_list: bool,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate and those of its issuers, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Of the listener; only the first certificate may have it.
    pub min_version: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

impl Tls {
    /// Returns the oldest version of TLS that the listener speaks.
    #[must_use]
    pub fn min_version(&self) -> TlsVersion {
        let first = self.certificates.first();
        first.and_then(|first| first.min_version).unwrap_or_default()
    }

    /// Returns the path of a certificate in the configuration, below that of the listener:
    /// `http[0].tls`, or `http[0].tls[1]`.
    #[must_use]
    pub fn path(&self, listener: &str, at: usize) -> String {
        if self.is_list { format!("{listener}.tls[{at}]") } else { format!("{listener}.tls") }
    }
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Tls;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping or a list of them")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tls, A::Error> {
                let one = CertificateFiles::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Tls { certificates: vec![one], is_list: false })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tls, A::Error> {
                let mut certificates = Vec::new();
                while let Some(one) = list.next_element()? {
                    certificates.push(one);
                }
                Ok(Tls { certificates, is_list: true })
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl Serialize for Tls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.certificates {
            [one] if !self.is_list => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Version;
        impl Visitor<'_> for Version {
            type Value = TlsVersion;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("1.2 or 1.3")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TlsVersion, E> {
                match text {
                    "1.2" => Ok(TlsVersion::V1_2),
                    "1.3" => Ok(TlsVersion::V1_3),
                    _ => Err(E::custom(format!("unknown version `{text}`, expected 1.2 or 1.3"))),
                }
            }
            // Without quotes, YAML reads a number.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<TlsVersion, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Version)
    }
}
