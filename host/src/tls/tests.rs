use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::certificate::{Certificate, Problem, host};
use super::provider;

fn certificate(names: &[&str]) -> (rcgen::Certificate, KeyPair) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(names).unwrap().self_signed(&key).unwrap(), key)
}

fn parse(chain: &str, key: &str) -> Result<Certificate, Problem> {
    Certificate::parse(chain.as_bytes(), key.as_bytes(), &provider())
}

#[test]
fn a_certificate_is_for_its_names_and_a_wildcard_for_one_label() {
    let (certificate, key) = certificate(&["B.example", "a.example", "*.c.example", "127.0.0.1"]);
    let parsed = parse(&certificate.pem(), &key.serialize_pem()).unwrap();
    for host in ["a.example", "b.example", "x.c.example"] {
        assert!(parsed.is_for(host), "{host}");
    }
    for host in ["example", "c.example", "x.y.c.example", "127.0.0.1", "", "."] {
        assert!(!parsed.is_for(host), "{host}");
    }
    assert_eq!(host(certificate.der()).as_deref(), Some("a.example"));
    assert_eq!(host(b""), None);
}

#[test]
fn the_files_may_contain_more_than_is_needed() {
    let (certificate, key) = certificate(&["a.example"]);
    let both = format!("made by hand\n{}\n{}", key.serialize_pem(), certificate.pem());
    assert!(parse(&both, &both).is_ok());
    // As written on Windows.
    assert!(parse(&certificate.pem().replace('\n', "\r\n"), &key.serialize_pem()).is_ok());
}

#[test]
fn an_rsa_key_of_2048_bits_is_long_enough() {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let names = ["a.example".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    assert!(parse(&certificate.pem(), &key.serialize_pem()).is_ok());
}

#[test]
fn warnings_depend_on_the_time() {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(["a.example".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2020, 4, 1);
    let certificate = parameters.self_signed(&key).unwrap();
    let parsed = parse(&certificate.pem(), &key.serialize_pem()).unwrap();
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let second = Duration::from_secs(1);
    let ends = "ends within 14 days, at 2020-04-01T00:00:00Z";
    for (now, expected) in [
        (begin - second, Some("not valid before 2020-01-01T00:00:00Z")),
        (begin, None),
        (begin + days(77), None),
        (begin + days(77) + second, Some(ends)),
        (begin + days(91), Some(ends)),
        (begin + days(91) + second, Some("expired at 2020-04-01T00:00:00Z")),
    ] {
        assert_eq!(parsed.warnings(now), Vec::from_iter(expected), "{now:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(chain in any::<Vec<u8>>(), key in any::<Vec<u8>>()) {
        let _ = Certificate::parse(&chain, &key, &provider());
    }

    #[test]
    fn a_damaged_certificate_is_parsed_or_refused(at in any::<prop::sample::Index>(), byte: u8) {
        use base64::Engine as _;
        static GOOD: LazyLock<(rcgen::Certificate, KeyPair)> =
            LazyLock::new(|| certificate(&["a.example"]));
        let (certificate, key) = &*GOOD;
        let mut der = certificate.der().to_vec();
        let at = at.index(der.len());
        der[at] = byte;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        let _ = parse(&pem, &key.serialize_pem());
    }
}
