//! The policy's rules, with a fixed clock and with sums as signatures. Real signatures are verified
//! by the host.

use std::rc::Rc;
use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use karuta_plugin::{
    Transport,
    log::Level,
    testing::{self, Answer, Data, Request},
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const NOW: u64 = 1_700_000_000;
const HASH: [u8; 20] = *b"\x00\x01\x02 %+aZ~\x7f\x80\xa9\xff\"\\\n&=\xe9\x1f";
const ISSUER: &str = "https://quay.example";
const AUDIENCE: &str = "https://tracker.example/announce";
const INVALID: &str = "unapproved request: invalid jwt";
const MISSING: &str = "unapproved request: missing jwt";

const ALL: [&str; 7] = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"];

/// Computes a stand-in for a signature. `secret` stands in for the key pair.
fn sum(algorithm: &str, secret: &str, message: &[u8]) -> Vec<u8> {
    let bytes = [algorithm.as_bytes(), b":", secret.as_bytes(), b":", message].concat();
    let mix = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix).to_be_bytes().to_vec()
}

/// Loads a key of the tests: a JWK with a `secret`. Like the host, it refuses keys for encryption.
fn load(jwk: &str) -> Result<testing::Verifier, Error> {
    let jwk: Json = serde_json::from_str(jwk).unwrap();
    if jwk["use"] == "enc" {
        return Err("use: `enc`, expected `sig`".into());
    }
    let secret = jwk["secret"].as_str().ok_or("no secret")?.to_owned();
    Ok(Box::new(move |algorithm, message, signature| sum(algorithm, &secret, message) == signature))
}

fn jwk(kid: &str) -> Json {
    json!({ "kid": kid, "kty": "RSA", "secret": format!("secret of {kid}") })
}

/// Creates a policy with these members added to its `config`, and the public keys `a` and `b`.
fn policy(more: Json) -> Jwt {
    with_keys(more, &json!({ "keys": [jwk("a"), jwk("b")] }))
}

fn with_keys(more: Json, keys: &Json) -> Jwt {
    testing::set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    testing::set_keys(load);
    testing::set_data("jwks", Data::Raw);
    let mut config = json!({ "issuer": ISSUER, "audience": AUDIENCE });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut policy: Jwt = testing::init(&config.to_string()).unwrap();
    policy.on_data("jwks", 1, keys.to_string().as_bytes()).unwrap();
    policy
}

fn header() -> Json {
    json!({ "alg": "RS256", "kid": "a", "typ": "JWT" })
}

fn claims() -> Json {
    let hex = HASH.map(|byte| format!("{byte:02x}")).concat();
    json!({ "iss": ISSUER, "aud": AUDIENCE, "infohash": hex })
}

/// Returns an object with other values for some members. Null removes a member.
fn with(mut object: Json, members: Json) -> Json {
    for (name, value) in members.as_object().unwrap() {
        object[name] = value.clone();
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        }
    }
    object
}

/// Signs a header and claims with a key, by the algorithm of the header.
fn sign_text(header: &str, claims: &str, kid: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(header), encode(claims));
    let header: Json = serde_json::from_str(header).unwrap_or_default();
    let algorithm = header["alg"].as_str().unwrap_or_default();
    let signature = sum(algorithm, &format!("secret of {kid}"), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn sign(header: &Json, claims: &Json) -> String {
    sign_text(&header.to_string(), &claims.to_string(), "a")
}

fn request(token: Option<String>) -> Request {
    Request { info_hash: InfoHash::from_bytes(HASH), credential: token, ..Request::default() }
}

fn announce(policy: &mut Jwt, token: String) -> Answer {
    request(Some(token)).announce(policy)
}

#[track_caller]
fn accepted(policy: &mut Jwt, token: String) -> Answer {
    let answer = announce(policy, token);
    assert_eq!((answer.verdict, &answer.failure), (Verdict::Next, &None), "{:?}", answer.log);
    answer
}

/// Asserts that a token is refused, and counted for this cause only.
#[track_caller]
fn refused(policy: &mut Jwt, token: String, series: &str) -> Answer {
    let before = counts();
    let answer = announce(policy, token);
    assert_eq!(answer.verdict, Verdict::Reject, "{:?}", answer.log);
    assert_eq!(answer.failure.as_deref(), Some(INVALID));
    let after = counts();
    let changed: Vec<_> = after.iter().filter(|count| !before.contains(count)).collect();
    let expected = (format!("jwt_{series}_total"), metric(series) as u64);
    assert_eq!(changed, [&expected], "{:?}", answer.log);
    answer
}

fn metric(series: &str) -> f64 {
    testing::metric(&format!("jwt_{series}_total")).unwrap_or_default()
}

fn counts() -> Vec<(String, u64)> {
    let names = [
        "accepted",
        "missing",
        "malformed",
        "critical",
        "algorithm",
        "issuer",
        "audience",
        "key",
        "signature",
        "infohash",
        "expired",
        "not_yet",
    ];
    names.map(|name| (format!("jwt_{name}_total"), metric(name) as u64)).into()
}

/// As Quay writes it (`util/registry/torrent.py`): lower-case hex, no `exp`.
#[test]
fn the_token_of_quay_is_accepted() {
    let mut policy = policy(json!({}));
    accepted(&mut policy, sign(&header(), &claims()));
    assert_eq!(metric("accepted"), 1.0);
}

#[test]
fn the_info_hash_may_be_written_as_in_any_version_of_chihaya() {
    let mut policy = policy(json!({}));
    let raw: String = HASH.map(char::from).iter().collect();
    for (version, claim) in [
        ("ad496fc and later", HASH.map(|byte| format!("{byte:02x}")).concat()),
        ("issue 463", HASH.map(|byte| format!("{byte:02X}")).concat()),
        (
            "8245929 (v1), as Go escapes",
            "%00%01%02+%25%2BaZ~%7F%80%A9%FF%22%5C%0A%26%3D%E9%1F".into(),
        ),
        ("6e790ee, escaped", HASH.map(|byte| format!("%{byte:02x}")).concat()),
        ("6e790ee, raw", raw),
        ("BEP 52", HASH.map(|byte| format!("{byte:02x}")).concat() + &"0f".repeat(12)),
    ] {
        let claims = with(claims(), json!({ "infohash": claim }));
        let answer = announce(&mut policy, sign(&header(), &claims));
        assert_eq!(answer.verdict, Verdict::Next, "{version}: {:?}", answer.log);
    }
}

/// A hybrid torrent has two info-hashes (BEP 52), and clients announce both with one URL.
#[test]
fn one_token_may_be_for_several_info_hashes() {
    let mut policy = policy(json!({}));
    let v1 = HASH.map(|byte| format!("{byte:02x}")).concat();
    let others = ["61".repeat(20), "62".repeat(32)];
    for list in [json!([v1, others[0]]), json!([others[1], v1]), json!([7, v1]), json!([v1])] {
        accepted(&mut policy, sign(&header(), &with(claims(), json!({ "infohash": list }))));
    }
    refused(
        &mut policy,
        sign(&header(), &with(claims(), json!({ "infohash": others }))),
        "infohash",
    );
}

#[test]
fn a_token_for_another_torrent_is_refused() {
    let mut policy = policy(json!({}));
    let mut other = HASH;
    other[19] ^= 1;
    let others = [
        json!(other.map(|byte| format!("{byte:02x}")).concat()),
        json!(other.map(char::from).iter().collect::<String>()),
        json!(other.map(|byte| format!("%{byte:02x}")).concat()),
        json!(""),
        json!("*"),
        json!(5),
        json!([other.map(|byte| format!("{byte:02x}")).concat()]),
        json!([]),
        json!([5, ["*"]]),
        json!({}),
        json!(null),
    ];
    for other in others {
        let claims = with(claims(), json!({ "infohash": other }));
        refused(&mut policy, sign(&header(), &claims), "infohash");
    }
}

#[test]
fn a_request_without_a_token_is_told_so() {
    let mut policy = policy(json!({}));
    let answer = request(None).announce(&mut policy);
    assert_eq!((answer.verdict, answer.failure.as_deref()), (Verdict::Reject, Some(MISSING)));
    assert_eq!((metric("missing"), answer.remember), (1.0, None));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let mut policy = policy(json!({}));
    let good = sign(&header(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, signature] = parts[..] else { panic!("{parts:?}") };
    for token in [
        "x".to_owned(),
        "..".to_owned(),
        format!("{head}.{body}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{head}=.{body}.{signature}"),
        format!("{head}.{body}.{signature}="),
        format!("{head}.{body}.+/8"),
        format!("{head}.{body}.e31"),
        format!("{head} .{body}.{signature}"),
        format!("{body}{head}.{body}.{signature}"),
        sign_text("[]", &claims().to_string(), "a"),
        sign_text(&header().to_string(), "null", "a"),
        sign_text(&header().to_string(), "{\"iss\":", "a"),
        sign_text(&header().to_string(), &"[".repeat(5000), "a"),
    ] {
        refused(&mut policy, token, "malformed");
    }
}

#[test]
fn duplicate_claims_and_headers_are_refused() {
    let mut policy = policy(json!({}));
    let (header, claims) = (header().to_string(), claims().to_string());
    for name in ["iss", "aud", "infohash", "exp", "nbf", "unknown"] {
        let members = format!("\"{name}\":1,\"{name}\":1,");
        let twice = claims.replacen('{', &format!("{{{members}"), 1);
        refused(&mut policy, sign_text(&header, &twice, "a"), "malformed");
    }
    let twice = claims.replacen('{', "{\"\\u0069ss\":\"else\",", 1);
    refused(&mut policy, sign_text(&header, &twice, "a"), "malformed");
    for name in ["alg", "kid", "typ"] {
        let twice = header.replacen('{', &format!("{{\"{name}\":\"none\","), 1);
        refused(&mut policy, sign_text(&twice, &claims, "a"), "malformed");
    }
}

#[test]
fn algorithms_must_be_allowed() {
    let mut one = policy(json!({}));
    for alg in ["none", "None", "", "HS256", "HS512", "RS384", "PS256", "ES256", "EdDSA", "rs256"] {
        refused(&mut one, sign(&with(header(), json!({ "alg": alg })), &claims()), "algorithm");
    }
    for alg in [json!(null), json!(5), json!(["RS256"])] {
        refused(&mut one, sign(&with(header(), json!({ "alg": alg })), &claims()), "algorithm");
    }
    let mut unsigned = sign(&with(header(), json!({ "alg": "none" })), &claims());
    unsigned.truncate(unsigned.rfind('.').unwrap() + 1);
    refused(&mut one, unsigned, "algorithm");

    let mut more = policy(json!({ "algorithms": ["RS384", "PS256", "RS512"] }));
    for alg in ["RS384", "PS256", "RS512"] {
        accepted(&mut more, sign(&with(header(), json!({ "alg": alg })), &claims()));
    }
    refused(&mut more, sign(&header(), &claims()), "algorithm");
}

#[test]
fn an_algorithm_must_be_the_keys_own() {
    let keys = [
        (json!({ "kty": "RSA" }), &["RS256", "RS384", "RS512", "PS256"][..]),
        (json!({ "kty": "RSA", "alg": "RS256" }), &["RS256"]),
        (json!({ "kty": "RSA", "alg": "PS256" }), &["PS256"]),
        (json!({ "kty": "EC", "crv": "P-256" }), &["ES256"]),
        (json!({ "kty": "EC", "crv": "P-384", "alg": "ES384" }), &["ES384"]),
        (json!({ "kty": "OKP", "crv": "Ed25519" }), &["EdDSA"]),
        (json!({ "kty": "oct" }), &[]),
        (json!({}), &[]),
    ];
    for (key, own) in keys {
        let key = with(json!({ "kid": "a", "secret": "secret of a" }), key);
        let mut policy = with_keys(json!({ "algorithms": ALL }), &json!({ "keys": [key] }));
        for alg in ALL {
            let token = sign(&with(header(), json!({ "alg": alg })), &claims());
            if own.contains(&alg) {
                accepted(&mut policy, token);
            } else {
                refused(&mut policy, token, "algorithm");
            }
        }
    }
}

#[test]
fn a_wrong_signature_is_refused() {
    let mut policy = policy(json!({}));
    let good = sign(&header(), &claims());
    // Signed with another key of the set, under this key's name.
    refused(&mut policy, sign_text(&header().to_string(), &claims().to_string(), "b"), "signature");
    let (signed, _) = good.rsplit_once('.').unwrap();
    refused(&mut policy, format!("{signed}."), "signature");
    refused(&mut policy, format!("{signed}.AAAAAAAAAAA"), "signature");
    // Other claims under its signature.
    let more = with(claims(), json!({ "exp": NOW + 1000 }));
    let (other, _) =
        sign(&header(), &more).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (_, signature) = good.rsplit_once('.').unwrap();
    let answer = refused(&mut policy, format!("{other}.{signature}"), "signature");
    assert_eq!(answer.remember, None, "anyone can make up any number of these");
}

#[test]
fn issuer_and_audience_must_be_right() {
    let mut policy = policy(json!({}));
    for iss in [json!("https://quay.example/"), json!(""), json!([ISSUER]), json!(5), json!(null)] {
        refused(&mut policy, sign(&header(), &with(claims(), json!({ "iss": iss }))), "issuer");
    }
    let wrong = "https://tracker.example/announce2";
    for aud in [json!(wrong), json!([wrong]), json!([]), json!(5), json!(null), json!([[AUDIENCE]])]
    {
        refused(&mut policy, sign(&header(), &with(claims(), json!({ "aud": aud }))), "audience");
    }
    for aud in [json!([AUDIENCE]), json!([wrong, AUDIENCE]), json!([5, AUDIENCE])] {
        accepted(&mut policy, sign(&header(), &with(claims(), json!({ "aud": aud }))));
    }
}

#[test]
fn an_unknown_key_refreshes_the_source() {
    let mut policy = policy(json!({}));
    let answer =
        refused(&mut policy, sign(&with(header(), json!({ "kid": "c" })), &claims()), "key");
    assert_eq!((testing::refreshed("jwks"), answer.remember), (1, None));
    // A token that names no key does not refresh the source.
    refused(&mut policy, sign(&with(header(), json!({ "kid": null })), &claims()), "key");
    refused(&mut policy, sign(&with(header(), json!({ "kid": 5 })), &claims()), "key");
    assert_eq!(testing::refreshed("jwks"), 1);
    // Before there are any keys, all are unknown.
    let mut empty =
        testing::init::<Jwt>(&json!({ "issuer": ISSUER, "audience": AUDIENCE }).to_string())
            .unwrap();
    refused(&mut empty, sign(&header(), &claims()), "key");
    assert_eq!(testing::refreshed("jwks"), 2);
}

#[test]
fn a_key_in_the_token_is_not_believed() {
    let mut policy = policy(json!({}));
    let url = "https://evil.example/keys";
    for embedded in [
        json!({ "jwk": jwk("c") }),
        json!({ "jku": url }),
        json!({ "x5u": url }),
        json!({ "x5c": ["AAAA"] }),
    ] {
        let header = with(header(), embedded);
        let forged = |kid: Json| {
            let header = with(header.clone(), json!({ "kid": kid }));
            sign_text(&header.to_string(), &claims().to_string(), "c")
        };
        refused(&mut policy, forged(json!("a")), "signature");
        refused(&mut policy, forged(json!("c")), "key");
        refused(&mut policy, forged(json!(null)), "key");
        // An embedded key does no harm either.
        accepted(&mut policy, sign(&header, &claims()));
    }
}

#[test]
fn critical_headers_are_refused() {
    let mut policy = policy(json!({}));
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("exp"), json!({})] {
        let header = with(header(), json!({ "crit": crit, "b64": true }));
        refused(&mut policy, sign(&header, &claims()), "critical");
    }
    let header = header().to_string().replacen('{', "{\"crit\":null,", 1);
    refused(&mut policy, sign_text(&header, &claims().to_string(), "a"), "critical");
}

#[test]
fn a_token_holds_from_nbf_to_exp_give_or_take_the_leeway() {
    let now = NOW as f64;
    let token =
        |claim: &str, seconds: f64| sign(&header(), &with(claims(), json!({ claim: seconds })));
    let mut policy_30 = policy(json!({}));
    let mut policy_0 = policy(json!({ "leeway": "0s" }));
    for (claim, seconds, with_leeway, without) in [
        ("exp", now + 1000.0, "", ""),
        ("exp", now + 0.5, "", ""),
        ("exp", now, "", "expired"),
        ("exp", now - 29.5, "", "expired"),
        ("exp", now - 30.0, "expired", "expired"),
        ("exp", now - 1e6, "expired", "expired"),
        ("exp", 0.0, "expired", "expired"),
        ("exp", -1e300, "expired", "expired"),
        ("exp", 1e300, "", ""),
        ("nbf", now - 1000.0, "", ""),
        ("nbf", now, "", ""),
        ("nbf", now + 0.5, "", "not_yet"),
        ("nbf", now + 30.0, "", "not_yet"),
        ("nbf", now + 30.5, "not_yet", "not_yet"),
        ("nbf", 1e300, "not_yet", "not_yet"),
    ] {
        for (policy, series) in [(&mut policy_30, with_leeway), (&mut policy_0, without)] {
            if series.is_empty() {
                accepted(policy, token(claim, seconds));
            } else {
                refused(policy, token(claim, seconds), series);
            }
        }
    }
}

#[test]
fn times_are_numbers() {
    let mut policy = policy(json!({}));
    for claim in ["exp", "nbf"] {
        for wrong in [json!("1700001000"), json!([NOW]), json!(true), json!({})] {
            let claims = with(claims(), json!({ claim: wrong }));
            refused(&mut policy, sign(&header(), &claims), "malformed");
        }
        let null = claims().to_string().replacen('{', &format!("{{\"{claim}\":null,"), 1);
        refused(&mut policy, sign_text(&header().to_string(), &null, "a"), "malformed");
    }
    accepted(&mut policy, sign(&header(), &with(claims(), json!({ "iat": "whenever" }))));
}

#[test]
fn exp_may_be_required() {
    let mut policy = policy(json!({ "require_exp": true }));
    refused(&mut policy, sign(&header(), &claims()), "expired");
    accepted(&mut policy, sign(&header(), &with(claims(), json!({ "exp": NOW + 10 }))));
}

#[test]
fn a_verdict_is_remembered_only_while_it_is_certain() {
    let scope = Scope::INFO_HASH | Scope::CREDENTIAL;
    let token = |more: Json| sign(&header(), &with(claims(), more));
    let remembered = |policy: &mut Jwt, more: Json| announce(policy, token(more)).remember;
    let mut five = policy(json!({}));
    assert_eq!(remembered(&mut five, json!({})), Some((scope, Duration::from_mins(5))));
    assert_eq!(
        remembered(&mut five, json!({ "exp": NOW + 1000 })),
        Some((scope, Duration::from_mins(5)))
    );
    assert_eq!(
        remembered(&mut five, json!({ "exp": NOW as f64 + 100.9 })),
        Some((scope, Duration::from_secs(100)))
    );
    for soon in [0.9, 0.0, -1.0, -29.0] {
        let exp = NOW as f64 + soon;
        assert_eq!(remembered(&mut five, json!({ "exp": exp })), None, "never past exp: {soon}");
    }
    // A genuine token that is refused stays refused, except one that is not valid yet.
    assert_eq!(
        remembered(&mut five, json!({ "exp": NOW - 100 })),
        Some((scope, Duration::from_mins(5)))
    );
    assert_eq!(
        remembered(&mut five, json!({ "infohash": "" })),
        Some((scope, Duration::from_mins(5)))
    );
    assert_eq!(remembered(&mut five, json!({ "nbf": NOW + 100 })), None);
    for (keep, seconds) in [("1s", Some(1)), ("0s", None), ("1d", Some(86_400))] {
        let mut policy = policy(json!({ "remember": keep }));
        let expected = seconds.map(|seconds| (scope, Duration::from_secs(seconds)));
        assert_eq!(remembered(&mut policy, json!({})), expected, "{keep}");
    }
}

#[test]
fn scrapes_pass_or_need_a_token_for_each_torrent() {
    let good = sign(&header(), &claims());
    let mut open = policy(json!({}));
    for token in [None, Some("x".to_owned()), Some(good.clone())] {
        assert_eq!(request(token).scrape(&mut open).verdict, Verdict::Next);
    }
    let mut closed = policy(json!({ "scrapes": true }));
    assert_eq!(request(Some(good.clone())).scrape(&mut closed).verdict, Verdict::Next);
    let other = Request { info_hash: InfoHash::from_bytes([7; 20]), ..request(Some(good)) };
    assert_eq!(other.scrape(&mut closed).failure.as_deref(), Some(INVALID));
    // UDP has no room for a token in a scrape.
    let udp = Request { transport: Transport::Udp, ..request(None) };
    let answer = udp.scrape(&mut closed);
    assert_eq!((answer.verdict, answer.failure.as_deref()), (Verdict::Reject, Some(MISSING)));
}

#[test]
fn several_issuers_have_their_own_audiences_and_keys() {
    testing::set_data("others", Data::Raw);
    testing::set_data("jwks", Data::Raw);
    testing::set_keys(load);
    let config = json!({ "issuers": [
        { "issuer": "one", "audience": "http" },
        { "issuer": "one", "audience": "udp" },
        { "issuer": "two", "audience": "http", "keys": "others" },
    ] });
    let mut policy: Jwt = testing::init(&config.to_string()).unwrap();
    let set = |kid| json!({ "keys": [jwk(kid)] }).to_string();
    policy.on_data("jwks", 1, set("a").as_bytes()).unwrap();
    policy.on_data("others", 1, set("b").as_bytes()).unwrap();
    policy.on_data("unrelated", 1, b"no JSON").unwrap();
    assert_eq!(testing::metric("jwt_keys"), Some(2.0));
    let token = |iss, aud, kid| {
        let header = with(header(), json!({ "kid": kid })).to_string();
        let claims = with(claims(), json!({ "iss": iss, "aud": aud })).to_string();
        sign_text(&header, &claims, kid)
    };
    accepted(&mut policy, token("one", "http", "a"));
    accepted(&mut policy, token("one", "udp", "a"));
    accepted(&mut policy, token("two", "http", "b"));
    // The key of one issuer does not verify tokens of the other.
    refused(&mut policy, token("one", "http", "b"), "key");
    refused(&mut policy, token("two", "http", "a"), "key");
    assert_eq!((testing::refreshed("jwks"), testing::refreshed("others")), (1, 1));
    refused(&mut policy, token("two", "udp", "b"), "audience");
    refused(&mut policy, token("three", "http", "a"), "issuer");
}

#[test]
fn a_set_is_what_its_usable_keys_are() {
    let token = || sign(&header(), &claims());
    let mut several = with_keys(
        json!({}),
        &json!({ "issuer": "as chihaya 1.0 wanted it", "keys": [
            5,
            { "kid": "enc", "kty": "RSA", "use": "enc", "secret": "x" },
            { "kid": "none", "kty": "RSA" },
            { "kty": "RSA", "secret": "secret of unnamed" },
            jwk("a"),
        ] }),
    );
    accepted(&mut several, token());
    assert_eq!(testing::metric("jwt_keys"), Some(1.0));
    refused(&mut several, sign(&with(header(), json!({ "kid": "enc" })), &claims()), "key");
    let unnamed = with(header(), json!({ "kid": null })).to_string();
    refused(&mut several, sign_text(&unnamed, &claims().to_string(), "unnamed"), "key");

    // Two keys may have the same name, for example while an issuer changes its algorithm.
    let second = json!({ "kid": "a", "kty": "EC", "crv": "P-256", "secret": "secret of a" });
    let both = json!({ "keys": [second, jwk("a")] });
    let mut both = with_keys(json!({ "algorithms": ["RS256", "ES256"] }), &both);
    accepted(&mut both, token());
    accepted(&mut both, sign(&with(header(), json!({ "alg": "ES256" })), &claims()));

    let mut empty = with_keys(json!({}), &json!({ "keys": [] }));
    refused(&mut empty, token(), "key");
    assert_eq!(testing::metric("jwt_keys"), Some(0.0));
}

#[test]
fn data_without_a_usable_set_is_refused() {
    let mut policy = policy(json!({}));
    let enc = json!({ "keys": [{ "kid": "a", "use": "enc" }, 5] }).to_string();
    let cases: [(&[u8], &str); 13] = [
        (b"", "not a JWK set: nothing, expected a mapping with the list `keys`"),
        (b"\n[{}]", "not a JWK set: a list, expected a mapping with the list `keys`"),
        (b"<html>", "not a JWK set: HTML or XML, expected a mapping with the list `keys`"),
        (b"-----BEGIN", "not a JWK set: PEM, expected a mapping with the list `keys`"),
        (b"nonsense", "not a JWK set: not JSON, expected a mapping with the list `keys`"),
        (b"{}", "not a JWK set: a mapping without `keys`, expected a mapping with the list `keys`"),
        (
            b"{\"kty\":\"RSA\"}",
            "not a JWK set: a single key, expected a mapping with the list `keys`",
        ),
        (
            b"{\"jwks_uri\":\"https://a/keys\"}",
            "not a JWK set: an OpenID configuration, whose `jwks_uri` leads to one, expected a \
             mapping with the list `keys`",
        ),
        (
            b"{\"keys\":{}}",
            "not a JWK set: `keys` is not a list, expected a mapping with the list `keys`",
        ),
        (b"\xff\xfe{\0", "UTF-16, expected UTF-8"),
        (b"{\"keys\":[],\"keys\":[]}", "not a JWK set: duplicate field `keys` at line 1 column 17"),
        (b"{\"keys\":[]} {}", "not a JWK set: trailing characters at line 1 column 13"),
        (enc.as_bytes(), "none of the keys can be used: keys[0]: use: `enc`, expected `sig`"),
    ];
    for (data, message) in cases {
        let error = policy.on_data("jwks", 2, data).unwrap_err().to_string();
        assert_eq!(error, message, "{}", data.escape_ascii());
    }
}

#[test]
fn the_log_has_the_cause_and_not_the_token() {
    let mut policy = policy(json!({}));
    let long = "ü".repeat(5000);
    for (token, cause) in [
        (sign(&header(), &with(claims(), json!({ "exp": NOW - 100 }))), "exp: 100 s ago"),
        (sign(&header(), &with(claims(), json!({ "nbf": NOW + 100 }))), "nbf: in 100 s"),
        (sign(&header(), &with(claims(), json!({ "infohash": "?" }))), "infohash: no info-hash"),
        (
            sign(&header(), &with(claims(), json!({ "infohash": "61".repeat(20) }))),
            "infohash: another torrent",
        ),
        (sign(&header(), &json!({ "iss": ISSUER, "aud": AUDIENCE })), "infohash: missing"),
        (
            sign(&with(header(), json!({ "alg": "none" })), &claims()),
            "alg: \"none\" is not allowed",
        ),
        (
            sign(&with(header(), json!({ "kid": long })), &claims()),
            &format!("kid: {:?} is unknown", "ü".repeat(40)),
        ),
        (sign(&with(header(), json!({ "kid": "a\nb" })), &claims()), "kid: \"a\\nb\" is unknown"),
    ] {
        let answer = announce(&mut policy, token);
        let hash = InfoHash::from_bytes(HASH);
        assert_eq!(answer.log, [(Level::Debug, format!("{hash}: {cause}"))]);
    }
}

/// The host limits the number of keys of each instance.
#[test]
fn keys_are_given_back_to_the_host() {
    let mut policy = policy(json!({}));
    let held = Rc::new(());
    let seen = held.clone();
    testing::set_keys(move |jwk| {
        let (held, verify) = (held.clone(), load(jwk)?);
        Ok(Box::new(move |algorithm, message, signature| {
            let _held = &held;
            verify(algorithm, message, signature)
        }))
    });
    for version in 2..10 {
        let set = json!({ "keys": [jwk("b"), jwk("c")] }).to_string();
        policy.on_data("jwks", version, set.as_bytes()).unwrap();
        assert_eq!(Rc::strong_count(&seen), 4, "two, the loader's and ours");
    }
    refused(&mut policy, sign(&header(), &claims()), "key");
    let other = with(header(), json!({ "kid": "c" })).to_string();
    accepted(&mut policy, sign_text(&other, &claims().to_string(), "c"));
}

proptest! {
    #[test]
    fn no_other_text_than_the_token_itself_is_accepted(at: prop::sample::Index, letter: char) {
        let mut policy = policy(json!({}));
        let good = sign(&header(), &claims());
        let (front, back) = good.split_at(at.index(good.len()));
        let replaced = format!("{front}{letter}{}", &back[1..]);
        let longer = format!("{front}{letter}{back}");
        let shorter = format!("{front}{}", &back[1..]);
        for token in [replaced, longer, shorter] {
            let verdict = announce(&mut policy, token.clone()).verdict;
            prop_assert_eq!(verdict == Verdict::Next, token == good, "{}", token);
        }
    }

    #[test]
    fn no_text_panics(text: String, header in ".{0,30}", claims in ".{0,30}") {
        let mut policy = policy(json!({}));
        prop_assert_eq!(announce(&mut policy, text).verdict, Verdict::Reject);
        let token = sign_text(&header, &claims, "a");
        prop_assert_eq!(announce(&mut policy, token).verdict, Verdict::Reject);
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_path_and_reason() {
    testing::set_data("jwks", Data::Raw);
    testing::set_data("texts", Data::Strings(Vec::new()));
    let one = json!({ "issuer": ISSUER, "audience": AUDIENCE });
    let with = |more: Json| with(one.clone(), more);
    let keys = "issuer, audience, keys, issuers, algorithms, info_hash_claim, require_exp, leeway, \
                scrapes, remember";
    let algorithms = "RS256, RS384, RS512, PS256, ES256, ES384, EdDSA";
    let both = "issuers: given together with issuer, audience or keys, expected one or the other";
    let cases = [
        (json!({}), "missing key `issuer`"),
        (json!({ "audience": "a" }), "missing key `issuer`"),
        (json!({ "issuer": "a" }), "missing key `audience`"),
        (with(json!({ "issuer": "" })), "issuer: empty, expected a text"),
        (with(json!({ "audience": "" })), "audience: empty, expected a text"),
        (with(json!({ "audience": ["a"] })), "audience: found a list, expected a text"),
        (with(json!({ "issuer": 5 })), "issuer: found the number `5`, expected a text"),
        (
            with(json!({ "keys": "keys" })),
            "keys: there is no data source `keys`, expected one that `data` declares",
        ),
        (
            with(json!({ "keys": "texts" })),
            "keys: the data source `texts` has the format strings, expected raw",
        ),
        (json!({ "issuers": [] }), "issuers: an empty list, expected at least one"),
        (json!({ "issuers": [one] , "keys": "jwks" }), both),
        (with(json!({ "issuers": [one] })), both),
        (json!({ "issuers": [{ "issuer": "a" }] }), "issuers[0]: missing key `audience`"),
        (
            json!({ "issuers": [one, { "issuer": "a", "audience": "" }] }),
            "issuers[1].audience: empty, expected a text",
        ),
        (
            json!({ "issuers": [one, { "issuer": "a", "audience": "b", "keys": "c" }] }),
            "issuers[1].keys: there is no data source `c`, expected one that `data` declares",
        ),
        (
            json!({ "issuers": [one, { "isuer": "a" }] }),
            "issuers[1].isuer: unknown key, expected one of issuer, audience, keys",
        ),
        (
            json!({ "issuers": [one, one] }),
            "issuers[1]: same issuer and audience as issuers[0], expected others",
        ),
        (
            with(json!({ "algorithms": ["RS256", "HS256"] })),
            &format!("algorithms[1]: unknown value `HS256`, expected one of {algorithms}"),
        ),
        (
            with(json!({ "algorithms": ["none"] })),
            &format!("algorithms[0]: unknown value `none`, expected one of {algorithms}"),
        ),
        (with(json!({ "algorithms": [] })), "algorithms: an empty list, expected at least one"),
        (with(json!({ "algorithms": "RS256" })), "algorithms: found a text, expected a list"),
        (
            with(json!({ "info_hash_claim": "" })),
            "info_hash_claim: empty, expected the name of a claim",
        ),
        (
            with(json!({ "require_exp": "yes" })),
            "require_exp: found a text, expected true or false",
        ),
        (with(json!({ "leeway": 30 })), "leeway: found the number `30`, expected a text"),
        (
            with(json!({ "remember": "5 minutes" })),
            "remember: invalid duration `5 minutes`, expected a number with a unit such as 30s, \
             5m, 1h",
        ),
        (with(json!({ "scrapes": "pass" })), "scrapes: found a text, expected true or false"),
        (
            with(json!({ "jwk_set_url": "https://quay.example/keys" })),
            &format!("jwk_set_url: unknown key, expected one of {keys}"),
        ),
    ];
    for (config, message) in cases {
        let error = testing::init::<Jwt>(&config.to_string()).err();
        assert_eq!(error, Some(message.into()), "{config}");
    }
}

#[test]
fn the_source_of_keys_must_be_declared_where_it_is_not_named_too() {
    let config = json!({ "issuer": ISSUER, "audience": AUDIENCE }).to_string();
    assert_eq!(
        testing::init::<Jwt>(&config).err(),
        Some("keys: there is no data source `jwks`, expected one that `data` declares".into())
    );
}
