//! Public keys as JWKs (RFC 7517), and signatures in the form of JWS (RFC 7515).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The maximum size of a JWK in bytes; one with a long chain of certificates has several thousand.
const MAX_JWK: usize = 64 * 1024;
/// The size of an RSA modulus in bits.
const MIN_MODULUS: usize = 2048;
const MAX_MODULUS: usize = 8192;
/// The maximum size of an RSA exponent in bytes; larger ones only cost time.
const MAX_EXPONENT: usize = 4;

/// RFC 7518, section 3.1.
const RSA: [(&str, &RsaParameters); 6] = [
    ("RS256", &RSA_PKCS1_2048_8192_SHA256),
    ("RS384", &RSA_PKCS1_2048_8192_SHA384),
    ("RS512", &RSA_PKCS1_2048_8192_SHA512),
    ("PS256", &RSA_PSS_2048_8192_SHA256),
    ("PS384", &RSA_PSS_2048_8192_SHA384),
    ("PS512", &RSA_PSS_2048_8192_SHA512),
];

/// A public key that verifies signatures.
pub struct Key {
    /// The algorithms of the key. A key that does not specify one has all of its type.
    verifiers: Vec<(&'static str, ParsedPublicKey)>,
}

/// The members that define a key (RFC 7517 section 4, RFC 7518 section 6, RFC 8037).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl Key {
    /// Parses a JWK. The error says what is wrong with it.
    pub fn from_jwk(json: &str) -> Result<Self, String> {
        if json.len() > MAX_JWK {
            return Err(format!("the key has more than {MAX_JWK} bytes"));
        }
        let jwk: Jwk = serde_json::from_str(json).map_err(|error| format!("not a JWK: {error}"))?;
        if let Some(purpose) = jwk.purpose.as_deref().filter(|purpose| *purpose != "sig") {
            return Err(format!("use: `{purpose}`, expected `sig`"));
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("key_ops: expected `verify` in the list".to_owned());
        }
        if jwk.d.is_some() {
            return Err("d: this is a private key, expected a public one".to_owned());
        }
        let all = match jwk.kty.as_str() {
            "RSA" => jwk.rsa()?,
            "EC" => jwk.ec()?,
            "OKP" => jwk.okp()?,
            other => return Err(format!("kty: `{other}`, expected `RSA`, `EC` or `OKP`")),
        };
        let Some(alg) = &jwk.alg else { return Ok(Self { verifiers: all }) };
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let expected = names.join(", ");
        let verifiers: Vec<_> = all.into_iter().filter(|(name, _)| name == alg).collect();
        if verifiers.is_empty() {
            return Err(format!("alg: `{alg}`, expected one of {expected} for this key"));
        }
        Ok(Self { verifiers })
    }

    /// Returns whether a signature of a message is valid. `false` if the key does not have the
    /// algorithm, which is named as in JWS.
    pub fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let verifier = self.verifiers.iter().find(|(name, _)| *name == algorithm);
        verifier.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

impl Jwk {
    fn rsa(&self) -> Result<Vec<(&'static str, ParsedPublicKey)>, String> {
        let n = decode("n", self.n.as_ref())?;
        let e = decode("e", self.e.as_ref())?;
        let (n, e) = (without_zeros(&n), without_zeros(&e));
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(MIN_MODULUS..=MAX_MODULUS).contains(&bits) {
            return Err(format!("n: {bits} bits, expected {MIN_MODULUS} to {MAX_MODULUS}"));
        }
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !odd(n) {
            return Err("n: an even number, which cannot be an RSA modulus".to_owned());
        }
        // With 1, anyone could sign.
        if !odd(e) || e == [1] || e.len() > MAX_EXPONENT {
            return Err(format!("e: expected an odd number from 3, of up to {MAX_EXPONENT} bytes"));
        }
        let key = RsaPublicKeyComponents { n, e };
        let parse = |(name, parameters): (&'static str, &'static RsaParameters)| {
            let parsed = key.to_parsed_public_key(parameters);
            Ok((name, parsed.map_err(|_| "n, e: not an RSA modulus and exponent")?))
        };
        RSA.into_iter().map(parse).collect()
    }

    fn ec(&self) -> Result<Vec<(&'static str, ParsedPublicKey)>, String> {
        let (name, algorithm, length): (_, &'static dyn VerificationAlgorithm, _) =
            match self.crv.as_deref() {
                Some("P-256") => ("ES256", &ECDSA_P256_SHA256_FIXED, 32),
                Some("P-384") => ("ES384", &ECDSA_P384_SHA384_FIXED, 48),
                other => return Err(curve(other, "`P-256` or `P-384`")),
            };
        let x = coordinate("x", self.x.as_ref(), length)?;
        let y = coordinate("y", self.y.as_ref(), length)?;
        let point = [&[4], &x[..], &y[..]].concat();
        let key = ParsedPublicKey::new(algorithm, point);
        Ok(vec![(name, key.map_err(|_| "x, y: not a point on the curve")?)])
    }

    fn okp(&self) -> Result<Vec<(&'static str, ParsedPublicKey)>, String> {
        if self.crv.as_deref() != Some("Ed25519") {
            return Err(curve(self.crv.as_deref(), "`Ed25519`"));
        }
        let x = coordinate("x", self.x.as_ref(), 32)?;
        let key = ParsedPublicKey::new(&ED25519, x);
        Ok(vec![("EdDSA", key.map_err(|_| "x: not a point on the curve")?)])
    }
}

fn curve(found: Option<&str>, expected: &str) -> String {
    match found {
        Some(found) => format!("crv: `{found}`, expected {expected}"),
        None => format!("crv: missing, expected {expected}"),
    }
}

fn decode(member: &str, value: Option<&String>) -> Result<Vec<u8>, String> {
    let value = value.ok_or_else(|| format!("{member}: missing"))?;
    let decoded = URL_SAFE_NO_PAD.decode(value);
    decoded.map_err(|_| format!("{member}: not base64url without padding"))
}

fn coordinate(member: &str, value: Option<&String>, length: usize) -> Result<Vec<u8>, String> {
    let bytes = decode(member, value)?;
    if bytes.len() != length {
        return Err(format!("{member}: {} bytes, expected {length}", bytes.len()));
    }
    Ok(bytes)
}

/// Removes the zero that some writers put before a number that begins with a one bit.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    struct Vector {
        source: String,
        algorithm: String,
        key: Value,
        input: Vec<u8>,
        signature: Vec<u8>,
    }

    /// Signatures from the RFCs, and from other software for the algorithms that they do not cover.
    fn vectors() -> Vec<Vector> {
        let all: Vec<Value> = serde_json::from_str(include_str!("jwk.json")).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let vector = |one: Value| Vector {
            source: text(&one["source"]),
            algorithm: text(&one["algorithm"]),
            input: text(&one["input"]).into_bytes(),
            signature: URL_SAFE_NO_PAD.decode(text(&one["signature"])).unwrap(),
            key: one["key"].clone(),
        };
        all.into_iter().map(vector).collect()
    }

    fn named(source: &str) -> Vector {
        vectors().into_iter().find(|vector| vector.source == source).unwrap()
    }

    fn load(jwk: &Value) -> Result<Key, String> {
        Key::from_jwk(&jwk.to_string())
    }

    const ALGORITHMS: [&str; 9] =
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

    #[test]
    fn signatures_of_other_software_are_right() {
        let vectors = vectors();
        for algorithm in ALGORITHMS {
            assert!(vectors.iter().any(|vector| vector.algorithm == algorithm), "{algorithm}");
        }
        for Vector { source, algorithm, key, input, signature } in vectors {
            let name = format!("{source}: {algorithm}");
            let key = load(&key).unwrap();
            assert!(key.verify(&algorithm, &input, &signature), "{name}");
            for other in ALGORITHMS.iter().chain(&["none", "HS256", "", "rs256", "ES512"]) {
                let right = *other == algorithm;
                assert_eq!(key.verify(other, &input, &signature), right, "{name} as {other}");
            }
        }
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        for Vector { source, algorithm, key, input, signature } in vectors() {
            let key = load(&key).unwrap();
            let changed = |bytes: &[u8], at: usize| {
                let mut bytes = bytes.to_vec();
                bytes[at] ^= 1;
                bytes
            };
            for at in [0, input.len() / 2, input.len() - 1] {
                assert!(!key.verify(&algorithm, &changed(&input, at), &signature), "{source}");
            }
            for at in [0, signature.len() / 2, signature.len() - 1] {
                assert!(!key.verify(&algorithm, &input, &changed(&signature, at)), "{source}");
            }
            let long = [&signature[..], &[0]].concat();
            for wrong in [&[], &signature[1..], &signature[..signature.len() - 1], &long] {
                assert!(!key.verify(&algorithm, &input, wrong), "{source}");
            }
        }
    }

    #[test]
    fn another_key_does_not_fit() {
        let (bilbo, joe) = (named("RFC 7520, 4.1"), named("RFC 7515, A.2"));
        assert_eq!(bilbo.algorithm, joe.algorithm);
        assert!(!load(&bilbo.key).unwrap().verify("RS256", &joe.input, &joe.signature));
    }

    #[test]
    fn a_key_with_an_algorithm_has_no_other() {
        let Vector { mut key, input, signature, .. } = named("RFC 7520, 4.2");
        key["alg"] = "PS384".into();
        assert!(load(&key).unwrap().verify("PS384", &input, &signature));
        key["alg"] = "PS256".into();
        assert!(!load(&key).unwrap().verify("PS384", &input, &signature));
    }

    #[test]
    fn members_that_are_not_about_the_key_are_left_alone() {
        let Vector { mut key, input, signature, .. } = named("RFC 7515, A.3");
        key["kid"] = "a".into();
        key["x5c"] = json!(["MIIB"]);
        key["key_ops"] = json!(["sign", "verify"]);
        assert!(load(&key).unwrap().verify("ES256", &input, &signature));
        // In the form that some writers use.
        let Vector { mut key, input, signature, .. } = named("RFC 7515, A.2");
        let n = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
        key["n"] = URL_SAFE_NO_PAD.encode([&[0], &n[..]].concat()).into();
        assert!(load(&key).unwrap().verify("RS256", &input, &signature));
    }

    #[test]
    fn errors_say_what_is_wrong_with_a_key() {
        let rsa = named("RFC 7515, A.2").key;
        let ec = named("RFC 7515, A.3").key;
        let okp = named("RFC 8037, A.4").key;
        let with = |key: &Value, member: &str, value: Value| {
            let mut key = key.clone();
            key[member] = value;
            key
        };
        let without = |key: &Value, member: &str| {
            let mut key = key.clone();
            key.as_object_mut().unwrap().remove(member);
            key
        };
        let mut even = vec![0xff; 256];
        even[255] = 0xfe;
        let even = URL_SAFE_NO_PAD.encode(even);
        let bytes = |length: usize| URL_SAFE_NO_PAD.encode(vec![0xff; length]).into();
        let cases = [
            (json!({}), "not a JWK: missing field `kty` at line 1 column 2"),
            (json!({ "kty": "oct", "k": "AAAA" }), "kty: `oct`, expected `RSA`, `EC` or `OKP`"),
            (with(&rsa, "use", "enc".into()), "use: `enc`, expected `sig`"),
            (with(&rsa, "key_ops", json!(["encrypt"])), "key_ops: expected `verify` in the list"),
            (
                with(&rsa, "alg", "ES256".into()),
                "alg: `ES256`, expected one of RS256, RS384, RS512, PS256, PS384, PS512 for this \
                 key",
            ),
            (with(&ec, "alg", "ES384".into()), "alg: `ES384`, expected one of ES256 for this key"),
            (with(&ec, "d", "AAAA".into()), "d: this is a private key, expected a public one"),
            (without(&rsa, "n"), "n: missing"),
            (with(&rsa, "e", "AQAB=".into()), "e: not base64url without padding"),
            (with(&rsa, "n", "+/+/".into()), "n: not base64url without padding"),
            (with(&okp, "x", "AB".into()), "x: not base64url without padding"),
            (with(&rsa, "n", bytes(255)), "n: 2040 bits, expected 2048 to 8192"),
            (with(&rsa, "n", "".into()), "n: 0 bits, expected 2048 to 8192"),
            (with(&rsa, "n", bytes(1025)), "n: 8200 bits, expected 2048 to 8192"),
            (with(&rsa, "e", "".into()), "e: expected an odd number from 3, of up to 4 bytes"),
            (with(&rsa, "e", "AQ".into()), "e: expected an odd number from 3, of up to 4 bytes"),
            (with(&rsa, "e", "Ag".into()), "e: expected an odd number from 3, of up to 4 bytes"),
            (with(&rsa, "e", bytes(5)), "e: expected an odd number from 3, of up to 4 bytes"),
            (with(&rsa, "n", even.into()), "n: an even number, which cannot be an RSA modulus"),
            (without(&ec, "crv"), "crv: missing, expected `P-256` or `P-384`"),
            (with(&ec, "crv", "P-521".into()), "crv: `P-521`, expected `P-256` or `P-384`"),
            (with(&ec, "crv", "P-384".into()), "x: 32 bytes, expected 48"),
            (with(&ec, "y", ec["x"].clone()), "x, y: not a point on the curve"),
            (with(&ec, "x", bytes(32)), "x, y: not a point on the curve"),
            (with(&okp, "crv", "Ed448".into()), "crv: `Ed448`, expected `Ed25519`"),
            (with(&okp, "x", bytes(31)), "x: 31 bytes, expected 32"),
            (with(&rsa, "x5c", "x".repeat(MAX_JWK).into()), "the key has more than 65536 bytes"),
        ];
        for (jwk, expected) in cases {
            assert_eq!(load(&jwk).err().as_deref(), Some(expected), "{jwk}");
        }
        let twice = r#"{"kty":"OKP","kty":"OKP","crv":"Ed25519"}"#;
        assert!(Key::from_jwk(twice).is_err_and(|error| error.contains("duplicate field `kty`")));
    }
}
