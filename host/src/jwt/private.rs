//! Private keys for signing.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jwt_rules::Algorithm;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use super::MAX_KEYS;
use crate::{file, text};

/// A key pair.
pub enum Private {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

const FAILED: &str = "cannot generate the key";

impl Private {
    /// Generates a key for an algorithm; 2048 bits if it is RSA.
    pub fn generate(algorithm: Algorithm) -> Result<Self, String> {
        let ec = |algorithm| EcdsaKeyPair::generate(algorithm);
        let made = match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 => {
                rsa::KeyPair::generate(KeySize::Rsa2048).map(Self::Rsa)
            }
            Algorithm::ES256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::P256),
            Algorithm::ES384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Self::P384),
            Algorithm::EdDSA => Ed25519KeyPair::generate().map(Self::Ed25519),
        };
        made.map_err(|_| FAILED.to_owned())
    }

    /// Reads a key from a PEM file (PKCS#8, RFC 5208).
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |reason: String| format!("{}: {reason}", path.display());
        let bytes = file::read(path, MAX_KEYS).map_err(|unread| unread.to_string())?;
        let text = text::decode(&bytes).map_err(|error| named(error.to_string()))?;
        let pem = text::lines(text).collect::<Vec<_>>().join("\n");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|error| named(error.to_string()))?;
        let der = der.secret_pkcs8_der();
        let ec =
            |algorithm: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::from_pkcs8(algorithm, der);
        rsa::KeyPair::from_pkcs8(der)
            .map(Self::Rsa)
            .or_else(|_| ec(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::P256))
            .or_else(|_| ec(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Self::P384))
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519))
            .map_err(|_| {
                let expected = "an RSA, P-256, P-384 or Ed25519 private key";
                named(format!("not a key for tokens, expected {expected}"))
            })
    }

    /// Writes the key into a new file that only this user can read.
    pub fn write(&self, file: &Path) -> Result<(), String> {
        let der = match self {
            Self::Rsa(key) => key.as_der().map(|der| der.as_ref().to_vec()),
            Self::P256(key) | Self::P384(key) => key.to_pkcs8v1().map(|der| der.as_ref().to_vec()),
            Self::Ed25519(key) => key.to_pkcs8v1().map(|der| der.as_ref().to_vec()),
        };
        let encoded = STANDARD.encode(der.map_err(|_| FAILED)?);
        let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
        for line in encoded.as_bytes().chunks(64) {
            pem += &String::from_utf8_lossy(line);
            pem.push('\n');
        }
        pem += "-----END PRIVATE KEY-----\n";
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        created
            .and_then(|mut file| file.write_all(pem.as_bytes()))
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Returns the algorithm that signs tokens by default.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::RS256,
            Self::P256(_) => Algorithm::ES256,
            Self::P384(_) => Algorithm::ES384,
            Self::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    /// Signs a message; the signature has the form of JWS.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, String> {
        let signed = match (self, algorithm) {
            (Self::Rsa(key), Algorithm::RS256) => sign_rsa(key, &RSA_PKCS1_SHA256, message),
            (Self::Rsa(key), Algorithm::RS384) => sign_rsa(key, &RSA_PKCS1_SHA384, message),
            (Self::Rsa(key), Algorithm::RS512) => sign_rsa(key, &RSA_PKCS1_SHA512, message),
            (Self::Rsa(key), Algorithm::PS256) => sign_rsa(key, &RSA_PSS_SHA256, message),
            (Self::P256(key), Algorithm::ES256) | (Self::P384(key), Algorithm::ES384) => {
                key.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec())
            }
            (Self::Ed25519(key), Algorithm::EdDSA) => Ok(key.sign(message).as_ref().to_vec()),
            _ => return Err(format!("the key does not support {}", algorithm.name())),
        };
        signed.map_err(|_| "cannot sign the token".to_owned())
    }

    /// Returns the members of the public key that its thumbprint covers.
    fn public(&self) -> Result<Map<String, Value>, String> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let ec = |curve: &str, key: &EcdsaKeyPair| {
            // An uncompressed point: 4, and the coordinates.
            let (x, y) =
                key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
            json!({ "crv": curve, "kty": "EC", "x": encode(x), "y": encode(y) })
        };
        let public = match self {
            Self::Rsa(key) => {
                let (n, e) = numbers(key.public_key().as_ref()).ok_or(FAILED)?;
                json!({ "e": encode(e), "kty": "RSA", "n": encode(n) })
            }
            Self::P256(key) => ec("P-256", key),
            Self::P384(key) => ec("P-384", key),
            Self::Ed25519(key) => {
                let x = encode(key.public_key().as_ref());
                json!({ "crv": "Ed25519", "kty": "OKP", "x": x })
            }
        };
        match public {
            Value::Object(public) => Ok(public),
            _ => unreachable!("each is an object"),
        }
    }

    /// Returns the default name of a key (RFC 7638): the digest of its members, which serde_json
    /// keeps sorted by name.
    pub fn thumbprint(&self) -> Result<String, String> {
        let canonical = Value::Object(self.public()?).to_string();
        Ok(URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes())))
    }

    /// Returns the public key as a JWK for an algorithm.
    pub fn jwk(&self, algorithm: Algorithm, kid: &str) -> Result<Value, String> {
        let mut jwk = self.public()?;
        let more = [("kid", kid), ("alg", algorithm.name()), ("use", "sig")];
        jwk.extend(more.map(|(name, value)| (name.to_owned(), value.into())));
        Ok(Value::Object(jwk))
    }
}

fn sign_rsa(
    key: &rsa::KeyPair,
    encoding: &'static dyn RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature)?;
    Ok(signature)
}

/// Returns modulus and exponent of an `RSAPublicKey` in DER (RFC 8017, A.1.1).
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = element(0x30, der)?;
    let (modulus, rest) = element(0x02, sequence)?;
    let (exponent, _) = element(0x02, rest)?;
    // A number whose first bit is set is preceded by a zero.
    let bare = |number| <[u8]>::strip_prefix(number, &[0]).unwrap_or(number);
    Some((bare(modulus), bare(exponent)))
}

/// Returns the content of the first element, which must have this tag, and the rest.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    if head[0] != tag {
        return None;
    }
    let (length, rest) = match head[1] {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwk;

    #[test]
    fn what_a_key_signs_its_public_half_verifies() {
        let folder = tempfile::tempdir().unwrap();
        for algorithm in Algorithm::ALL {
            let file = folder.path().join(algorithm.name());
            let made = Private::generate(algorithm).unwrap();
            made.write(&file).unwrap();
            let read = Private::read(&file).unwrap();
            assert_eq!(read.thumbprint(), made.thumbprint());
            let jwk = made.jwk(algorithm, "a").unwrap().to_string();
            let key = jwk::Key::from_jwk(&jwk).unwrap();
            let signature = read.sign(algorithm, b"message").unwrap();
            assert!(key.verify(algorithm.name(), b"message", &signature), "{jwk}");
            assert!(!key.verify(algorithm.name(), b"massage", &signature), "{jwk}");
            assert!(made.write(&file).unwrap_err().contains("exists"), "nothing is written over");
        }
    }

    #[test]
    fn a_key_signs_by_its_own_algorithms_alone() {
        let key = Private::generate(Algorithm::ES256).unwrap();
        assert_eq!(key.algorithm(), Algorithm::ES256);
        for other in Algorithm::ALL.into_iter().filter(|other| *other != Algorithm::ES256) {
            let reason = format!("the key does not support {}", other.name());
            assert_eq!(key.sign(other, b"message"), Err(reason));
        }
    }

    #[test]
    fn lengths_of_every_size_are_read() {
        assert_eq!(numbers(&[0x30, 6, 2, 1, 5, 2, 1, 3]), Some((&[5][..], &[3][..])));
        assert_eq!(
            numbers(&[0x30, 0x81, 7, 2, 2, 0, 0x85, 2, 1, 3]),
            Some((&[0x85][..], &[3][..]))
        );
        for wrong in
            [&[][..], &[0x30], &[0x30, 6, 2, 1, 5], &[0x31, 6, 2, 1, 5, 2, 1, 3], &[0x30, 0x81]]
        {
            assert_eq!(numbers(wrong), None);
        }
    }
}
