//! A certificate with its key: parsed, judged, matched.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_cert::Certificate as Parsed;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, Reader as _, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

/// A certificate that can serve.
#[derive(Debug)]
pub struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// DNS names in lower case.
    names: HashSet<String>,
    read: SystemTime,
    begin: Time,
    end: Time,
    /// The position of the first certificate that was not issued by the next one.
    disorder: Option<usize>,
}

/// What is wrong with a certificate or its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    Certificate(String),
    Key(String),
    /// They do not belong together.
    Mismatch,
}

/// The least size of an RSA key, in bits.
const LEAST_RSA: usize = 2048;
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// Signatures over MD2, MD4, MD5 and SHA-1.
const WEAK: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.3"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
    ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
];
/// A certificate that ends this soon was not renewed in time.
const SOON: Duration = Duration::from_hours(14 * 24);

impl Problem {
    /// Returns the key of the configuration that it is about.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Key(_) | Self::Mismatch => "key",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(reason) | Self::Key(reason) => f.write_str(reason),
            Self::Mismatch => f.write_str("does not belong to the certificate"),
        }
    }
}

impl Certificate {
    /// Parses a chain and a key, both PEM.
    pub fn parse(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, Problem> {
        let chain = certificates(chain)?;
        let key = private_key(key)?;
        let parsed = chain.iter().enumerate().map(|(at, der)| {
            parse(der).map_err(|reason| match chain.len() {
                1 => Problem::Certificate(reason),
                _ => Problem::Certificate(format!("certificate {}: {reason}", at + 1)),
            })
        });
        let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
        let names = names(&parsed[0]);
        let [begin, end] = {
            let validity = &parsed[0].tbs_certificate.validity;
            [validity.not_before, validity.not_after]
        };
        let disorder = parsed
            .windows(2)
            .position(|pair| pair[0].tbs_certificate.issuer != pair[1].tbs_certificate.subject);
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Problem::Mismatch,
            Error::InvalidCertificate(error) => {
                Problem::Certificate(format!("cannot be served: {error:?}"))
            }
            error => Problem::Key(format!("cannot be used: {error}")),
        })?;
        let read = SystemTime::now();
        Ok(Self { key: Arc::new(key), names, read, begin, end, disorder })
    }

    /// Returns whether it is for a host, whose name is in lower case.
    pub fn is_for(&self, host: &str) -> bool {
        self.names.contains(host)
            || host
                .split_once('.')
                .is_some_and(|(_, rest)| self.names.contains(&format!("*.{rest}")))
    }

    /// Returns the hosts that it is for, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.names.iter().cloned().collect();
        names.sort();
        names
    }

    /// Returns when it was read, in seconds since 1970.
    pub fn read(&self) -> u64 {
        self.read.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Returns when it ends, in seconds since 1970.
    pub fn end(&self) -> u64 {
        self.end.to_unix_duration().as_secs()
    }

    /// Returns when it ends, in RFC 3339.
    pub fn end_text(&self) -> String {
        self.end.to_date_time().to_string()
    }

    /// Says what is unusual about it, although it serves: a date must not lock operators out.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let [begin, end] =
            [self.begin, self.end].map(|time| (time.to_unix_duration(), time.to_date_time()));
        let mut warnings = Vec::new();
        if now < begin.0 {
            warnings.push(format!("not valid before {}", begin.1));
        }
        if now > end.0 {
            warnings.push(format!("expired at {}", end.1));
        } else if now + SOON > end.0 {
            warnings.push(format!("ends within 14 days, at {}", end.1));
        }
        if let Some(at) = self.disorder {
            let [one, next] = [at + 1, at + 2];
            warnings.push(format!(
                "the chain is out of order: certificate {one} was not issued by certificate {next}"
            ));
        }
        warnings
    }
}

/// Returns a host that a certificate is for, if it names one without a wildcard.
pub fn host(der: &[u8]) -> Option<String> {
    let names = names(&Parsed::from_der(der).ok()?);
    names.into_iter().filter(|name| !name.starts_with('*')).min()
}

/// Reads the sections of a PEM file.
fn sections(bytes: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, String> {
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    sections.map_err(|error| format!("invalid PEM: {error}"))
}

/// Returns whether a file looks like DER: a sequence with a long length.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x80..=0x84, ..])
}

fn is_key(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
}

/// Reads the certificates of a PEM file, at least one.
pub fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    if is_der(bytes) {
        let how = "openssl x509 -inform der -in FILE -out FILE.pem";
        return Err(Problem::Certificate(format!("DER, expected PEM; convert it with `{how}`")));
    }
    let sections = sections(bytes).map_err(Problem::Certificate)?;
    let has_key = sections.iter().any(|(kind, _)| is_key(*kind));
    let certificates = sections.into_iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    let certificates: Vec<_> = certificates.map(|(_, der)| CertificateDer::from(der)).collect();
    match certificates.is_empty() {
        false => Ok(certificates),
        true if has_key => {
            Err(Problem::Certificate("a private key, expected a certificate".into()))
        }
        true => Err(Problem::Certificate("no certificate in it, expected PEM".into())),
    }
}

fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    if is_der(bytes) {
        let how = "openssl pkey -inform der -in FILE -out FILE.pem";
        return Err(Problem::Key(format!("DER, expected PEM; convert it with `{how}`")));
    }
    // Either the label of the section, or a header of the old format.
    if memchr::memmem::find(bytes, b"ENCRYPTED").is_some() {
        let how = "openssl pkey -in FILE -out FILE.pem";
        return Err(Problem::Key(format!(
            "encrypted, expected a plain key; convert it with `{how}`"
        )));
    }
    let sections = sections(bytes).map_err(Problem::Key)?;
    let mut keys = sections.into_iter().filter(|(kind, _)| is_key(*kind));
    match (keys.next(), keys.count()) {
        (Some((kind, der)), 0) => PrivateKeyDer::from_pem(kind, der)
            .ok_or_else(|| Problem::Key("no private key in it, expected PEM".into())),
        (Some(_), more) => Err(Problem::Key(format!("{} private keys, expected one", more + 1))),
        (None, _) => Err(Problem::Key("no private key in it, expected PEM".into())),
    }
}

/// Parses a certificate, and refuses one that clients would not trust, whoever issued it.
fn parse(der: &[u8]) -> Result<Parsed, String> {
    let parsed = Parsed::from_der(der).map_err(|error| format!("not a certificate: {error}"))?;
    let tbs = &parsed.tbs_certificate;
    // Nobody verifies the signature of a root.
    if WEAK.contains(&parsed.signature_algorithm.oid) && tbs.issuer != tbs.subject {
        return Err("signed with SHA-1 or weaker, expected SHA-256 or stronger".into());
    }
    let key = &tbs.subject_public_key_info;
    if key.algorithm.oid == RSA {
        let bits = rsa_bits(key.subject_public_key.raw_bytes())
            .map_err(|error| format!("not an RSA key: {error}"))?;
        if bits < LEAST_RSA {
            return Err(format!("an RSA key of {bits} bits, expected at least {LEAST_RSA}"));
        }
    }
    Ok(parsed)
}

/// Returns the size of an RSA modulus.
fn rsa_bits(key: &[u8]) -> x509_cert::der::Result<usize> {
    SliceReader::new(key)?.sequence(|numbers| {
        let modulus = UintRef::decode(numbers)?;
        UintRef::decode(numbers)?;
        let zeros = modulus.as_bytes().first().map_or(0, |byte| byte.leading_zeros() as usize);
        Ok(modulus.as_bytes().len() * 8 - zeros)
    })
}

fn names(certificate: &Parsed) -> HashSet<String> {
    let alternatives = certificate.tbs_certificate.filter::<SubjectAltName>();
    let names = alternatives.filter_map(Result::ok).flat_map(|(_, SubjectAltName(names))| names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}
