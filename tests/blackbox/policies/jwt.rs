//! jwt: announces and scrapes are decided by a token; and `karuta jwt`, which makes and checks
//! tokens.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Instant;

use karuta_tests::announce::{Announce, Reply, escape, hex, reply, torrent, url_data};
use karuta_tests::issuer::{AUDIENCE, ISSUER, Issuer};
use karuta_tests::server::{Server, reply as answer};
use karuta_tests::udp::{self, Client};
use karuta_tests::{Daemon, bencode, eventually, folder, get, run};
use sha1::{Digest, Sha1};
use sha2::Sha256;

const MISSING: &str = "unapproved request: missing jwt";
const INVALID: &str = "unapproved request: invalid jwt";

/// Starts a daemon that trusts an issuer. `config` has more keys, `data` is the source of the
/// issuer's keys.
fn trusting(config: &str, data: &str) -> Daemon {
    Daemon::start_with(&format!(
        "
tracker: {{ workers: 1 }}
http:
  - listen: '[::]:0'
    announce: [/announce, '/announce/{{token}}']
    scrape: [/scrape, '/scrape/{{token}}']
udp:
  - {{ listen: '[::]:0', announce: [/announce, '/announce/{{token}}'] }}
admin: {{ listen: '127.0.0.1:0' }}
policies:
  - name: jwt
    plugin: PLUGINS/jwt.wasm
    credential: ['query:jwt', 'path:token', 'header:authorization']
    config: {{ issuer: {ISSUER}, audience: '{AUDIENCE}', {config} }}
    data: {{ jwks: {{ format: raw, {data} }} }}
"
    ))
}

fn in_file(config: &str, issuer: &Issuer) -> Daemon {
    trusting(config, &format!("file: '{}'", issuer.keys_file().display()))
}

/// Returns why an announce of a torrent with a token is refused, the same over both transports, or
/// nothing.
#[track_caller]
fn told(daemon: &Daemon, letter: char, token: &str) -> String {
    let announce = Announce::of(letter).with(&format!("jwt={token}"));
    let over_http = announce.http(daemon.http).err();
    let over_udp = announce.udp(&Client::connect(daemon.udp)).err();
    match over_http == over_udp {
        true => over_http.unwrap_or_default(),
        // The keys may change between the two announces.
        false => format!("{over_http:?} over HTTP, {over_udp:?} over UDP"),
    }
}

/// Returns a metric of the policy itself.
fn count(daemon: &Daemon, what: &str) -> f64 {
    daemon.metric(&format!("karuta_plugin_jwt_{what}{{policy=\"jwt\"}}"))
}

fn calls(daemon: &Daemon, verdict: &str, remembered: bool) -> f64 {
    daemon.metric(&format!(
        "karuta_policy_calls_total{{policy=\"jwt\",hook=\"announce\",verdict=\"{verdict}\",remembered=\"{remembered}\"}}"
    ))
}

#[test]
fn a_token_is_found_in_path_query_and_header() {
    let issuer = Issuer::with("a", "RS256");
    let daemon = in_file("", &issuer);
    let token = issuer.sign("a", &hex('a'), &[]);
    let announce = Announce::of('a');
    let at = |path: &str, headers: &[&str]| -> Result<Reply, String> {
        let answer = get(daemon.http, &format!("{path}?{}", announce.query()), headers);
        reply(&bencode::read(&answer.body))
    };
    let over_udp = |path: &str| {
        let client = Client::connect(daemon.udp);
        let packet = [announce.packet(client.id, 9), url_data(path)].concat();
        let answer = client.exchange(&packet);
        udp::body(&answer, udp::ANNOUNCE, 9).map(drop)
    };
    assert_eq!(told(&daemon, 'a', &token), "");
    assert!(at(&format!("/announce/{token}"), &[]).is_ok());
    for scheme in ["Bearer ", "bearer ", ""] {
        assert!(at("/announce", &[&format!("Authorization: {scheme}{token}")]).is_ok(), "{scheme}");
    }
    assert_eq!(over_udp(&format!("/announce/{token}")), Ok(()));
    assert_eq!(over_udp(&format!("/announce?jwt={token}&a=b")), Ok(()));
    assert!(at("/announce", &["Authorization: Bearer nonsense"]) == Err(INVALID.into()));
    assert!(at("/announce", &["Authorization: Bearer"]) == Err(MISSING.into()));

    let missing = Err(MISSING.to_owned());
    assert_eq!(announce.http(daemon.http).map(drop), missing);
    assert_eq!(announce.clone().with("jwt=").http(daemon.http).map(drop), missing);
    assert_eq!(announce.udp(&Client::connect(daemon.udp)).map(drop), missing);
    assert_eq!(over_udp("/announce?token=x"), missing);
    assert_eq!(
        announce.get(daemon.http, &[]).body_text(),
        "d14:failure reason31:unapproved request: missing jwte"
    );
}

#[test]
fn every_algorithm_is_verified() {
    const ALGORITHMS: [&str; 7] = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"];
    let issuer = Issuer::with("RS256", "RS256");
    for algorithm in &ALGORITHMS[1..] {
        issuer.add(algorithm, algorithm);
    }
    let daemon = in_file(&format!("algorithms: {ALGORITHMS:?}"), &issuer);
    assert_eq!(count(&daemon, "keys"), 7.0);
    let strangers = Issuer::with("ES256", "ES256");
    for algorithm in ALGORITHMS {
        let token = issuer.sign(algorithm, &hex('a'), &["--algorithm", algorithm]);
        assert_eq!(told(&daemon, 'a', &token), "", "{algorithm}");
        assert_eq!(told(&daemon, 'b', &token), INVALID, "{algorithm}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { 'B' } else { 'A' };
        let changed = format!("{signed}.{other}{}", &signature[1..]);
        assert_eq!(told(&daemon, 'a', &changed), INVALID, "{algorithm}");
    }
    assert_eq!(told(&daemon, 'a', &strangers.sign("ES256", &hex('a'), &[])), INVALID);
    // Each twice, over HTTP and over UDP. Genuine tokens are remembered.
    assert_eq!((count(&daemon, "accepted_total"), count(&daemon, "infohash_total")), (7.0, 7.0));
    assert_eq!(count(&daemon, "signature_total"), 16.0);
}

#[test]
fn a_wrong_token_is_refused_and_its_cause_is_counted() {
    let issuer = Issuer::with("a", "RS256");
    let daemon = in_file("algorithms: [RS256, PS256], leeway: 0s", &issuer);
    let stranger = Issuer::with("a", "RS256");
    let sign = |more: &[&str]| issuer.sign("a", &hex('a'), more);
    let good = sign(&[]);
    let (header, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let short_lived = sign(&["--expires", "1s"]);
    eventually("a token expires", || told(&daemon, 'a', &short_lived) == INVALID);
    assert!(count(&daemon, "expired_total") >= 1.0);
    // {"alg":"none","kid":"a"} and {"alg":"HS256","kid":"a"}
    let (none, hs256) = ("eyJhbGciOiJub25lIiwia2lkIjoiYSJ9", "eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ");
    let cases = [
        ("infohash", issuer.sign("a", &hex('b'), &[])),
        ("signature", stranger.sign("a", &hex('a'), &[])),
        ("algorithm", format!("{none}.{claims}.")),
        ("algorithm", format!("{none}.{claims}.{signature}")),
        ("algorithm", format!("{hs256}.{claims}.{signature}")),
        // Signed with the right key, but not with its algorithm.
        ("algorithm", sign(&["--algorithm", "PS256"])),
        ("issuer", sign(&["--issuer", "evil"])),
        ("audience", sign(&["--audience", "https://elsewhere.example/announce"])),
        ("key", sign(&["--kid", "b"])),
        ("malformed", format!("{header}.{claims}")),
        ("malformed", format!("{good}%3d")),
    ];
    for (cause, token) in cases {
        let before = count(&daemon, &format!("{cause}_total"));
        assert_eq!(told(&daemon, 'a', &token), INVALID, "{cause}: {token}");
        assert!(count(&daemon, &format!("{cause}_total")) > before, "{cause}: {token}");
    }
    assert_eq!(told(&daemon, 'a', &good), "");
    let several = sign(&["--audience", AUDIENCE, "--audience", "another"]);
    assert_eq!(told(&daemon, 'a', &several), "");
    assert!(!daemon.log().contains(&good[..20]), "no token stands in the log");
}

#[test]
fn scrapes_need_tokens_if_configured() {
    let issuer = Issuer::with("a", "ES256");
    let token = issuer.sign("a", &hex('a'), &[]);
    let scrape = |daemon: &Daemon, letters: &str, token: Option<&str>| {
        let hashes = letters.chars().map(|letter| escape(&torrent(letter)));
        let mut query: Vec<_> = hashes.map(|hash| format!("info_hash={hash}")).collect();
        query.extend(token.map(|token| format!("jwt={token}")));
        let answer = get(daemon.http, &format!("/scrape?{}", query.join("&")), &[]);
        bencode::read(&answer.body).text("failure reason").unwrap_or_default()
    };
    let open = in_file("algorithms: [ES256]", &issuer);
    assert_eq!(scrape(&open, "ab", None), "");
    assert!(Client::connect(open.udp).scrape(&[torrent('a')]).is_ok());

    let closed = in_file("algorithms: [ES256], scrapes: true", &issuer);
    assert_eq!(scrape(&closed, "a", Some(&token)), "");
    assert_eq!(scrape(&closed, "aa", Some(&token)), "");
    assert_eq!(scrape(&closed, "a", None), MISSING);
    assert_eq!(scrape(&closed, "b", Some(&token)), INVALID);
    assert_eq!(scrape(&closed, "ab", Some(&token)), INVALID, "every torrent must be the token's");
    let path = format!("/scrape/{token}?info_hash={}", escape(&torrent('a')));
    assert!(get(closed.http, &path, &[]).body.starts_with(b"d5:files"));
    let over_udp = Client::connect(closed.udp).scrape(&[torrent('a')]);
    assert_eq!(over_udp, Err(MISSING.to_owned()), "a scrape over UDP has no room for a token");
}

#[test]
fn key_changes_are_followed_and_an_unknown_key_is_fetched_at_once() {
    let issuer = Issuer::with("a", "ES256");
    let server = Server::with(&issuer.keys());
    let url = format!("url: '{}', every: 1h, timeout: 2s", server.url("/keys"));
    let daemon = trusting("algorithms: [ES256]", &url);
    let old = issuer.sign("a", &hex('a'), &[]);
    eventually("the keys are there", || told(&daemon, 'a', &old).is_empty());
    // The policy may have been asked before there were any keys.
    let begin = server.requests().len();

    issuer.add("b", "ES256");
    issuer.withdraw("a");
    server.answer(&issuer.keys());
    let new = issuer.sign("b", &hex('a'), &[]);
    eventually("the new key is there", || told(&daemon, 'a', &new).is_empty());
    assert_eq!(
        told(&daemon, 'a', &old),
        INVALID,
        "verdicts remembered for the old key are forgotten"
    );
    assert_eq!(told(&daemon, 'a', &new), "");

    // Made-up key ids cause a fetch every 10 s at most.
    let since = Instant::now();
    let asked = server.requests().len();
    assert!(asked > begin);
    let unknown = issuer.sign("b", &hex('a'), &["--kid", "c"]);
    for _ in 0..20 {
        assert_eq!(told(&daemon, 'a', &unknown), INVALID);
    }
    let at_most = asked as u64 + 1 + since.elapsed().as_secs() / 10;
    assert!(server.requests().len() as u64 <= at_most);
}

#[test]
fn keys_outlive_an_outage_of_the_issuer_but_not_their_revocation() {
    let issuer = Issuer::with("a", "ES256");
    let server = Server::with(&issuer.keys());
    let url = format!("url: '{}', every: 1s, timeout: 2s", server.url("/keys"));
    let daemon = trusting("algorithms: [ES256], remember: 0s", &url);
    let token = issuer.sign("a", &hex('a'), &[]);
    eventually("the keys are there", || told(&daemon, 'a', &token).is_empty());
    let errors = || daemon.metric("karuta_data_errors_total{policy=\"jwt\",data=\"jwks\"}");

    for (what, text) in [
        ("nonsense", "<html>"),
        ("a set of unusable keys", r#"{"keys": [{"kid": "a", "kty": "oct", "k": "AAAA"}]}"#),
    ] {
        let before = errors();
        server.answer(text);
        eventually(what, || errors() > before);
        assert_eq!(told(&daemon, 'a', &token), "", "{what}");
    }
    let before = errors();
    server.behave(|_, stream| answer(stream, "503 Away", &[], b""));
    eventually("it is away", || errors() > before);
    assert_eq!(told(&daemon, 'a', &token), "");

    let mut keys: serde_json::Value = serde_json::from_str(&issuer.keys()).unwrap();
    keys["keys"].as_array_mut().unwrap().insert(0, serde_json::json!({ "kty": "oct" }));
    server.answer(&keys.to_string());
    eventually("an unusable key beside the good one is noticed", || {
        daemon.log().contains("keys[0] is not used")
    });
    assert_eq!(told(&daemon, 'a', &token), "");

    server.answer(r#"{"keys": []}"#);
    eventually("an empty set revokes all", || told(&daemon, 'a', &token) == INVALID);
    assert_eq!(count(&daemon, "keys"), 0.0);
}

/// Instances with new keys are made without any announce, so that the first one is not judged by
/// old keys.
#[test]
fn keys_are_there_before_the_first_announce() {
    let issuer = Issuer::with("a", "ES256");
    let server = Server::at(([127, 0, 0, 1], 0).into());
    let url = format!("url: '{}', every: 1s, required: true", server.url("/keys"));
    let daemon = trusting("algorithms: [ES256]", &url);
    let token = issuer.sign("a", &hex('a'), &[]);
    assert_eq!(told(&daemon, 'a', &token), "temporarily unavailable");
    server.answer(&issuer.keys());
    eventually("the keys are there", || count(&daemon, "keys") == 1.0);
    eventually("they count", || told(&daemon, 'a', &token) != "temporarily unavailable");
    assert_eq!(told(&daemon, 'a', &token), "");
    assert_eq!(count(&daemon, "key_total"), 0.0, "it was never judged without keys");
    let refused = calls(&daemon, "reject", false);
    issuer.add("b", "ES256");
    issuer.withdraw("a");
    server.answer(&issuer.keys());
    issuer.add("c", "ES256");
    server.answer(&issuer.keys());
    eventually("the new ones are there", || count(&daemon, "keys") == 2.0);
    assert_eq!(calls(&daemon, "reject", false), refused, "unasked");
}

#[test]
fn genuine_tokens_are_remembered_by_torrent_and_token() {
    let issuer = Issuer::with("a", "RS256");
    let daemon = in_file("", &issuer);
    let token = issuer.sign("a", &hex('a'), &[]);
    for event in ["started", "", "completed", "stopped", ""] {
        let announce = Announce::of('a').event(event).with(&format!("jwt={token}"));
        assert!(announce.http(daemon.http).is_ok(), "{event}");
    }
    assert_eq!((calls(&daemon, "next", false), calls(&daemon, "next", true)), (1.0, 4.0));
    // The verdict does not hold for another torrent or another token.
    for _ in 0..2 {
        assert_eq!(told(&daemon, 'b', &token), INVALID);
    }
    assert_eq!((calls(&daemon, "reject", false), calls(&daemon, "reject", true)), (1.0, 3.0));
    let (signed, _) = token.rsplit_once('.').unwrap();
    for _ in 0..2 {
        assert_eq!(told(&daemon, 'a', &format!("{signed}.AAAA")), INVALID);
    }
    assert_eq!((calls(&daemon, "reject", false), calls(&daemon, "reject", true)), (5.0, 3.0));

    let daemon = in_file("remember: 0s", &issuer);
    for _ in 0..2 {
        assert_eq!(told(&daemon, 'a', &token), "");
    }
    assert_eq!((calls(&daemon, "next", false), calls(&daemon, "next", true)), (4.0, 0.0));
}

#[test]
fn a_remembered_token_still_expires() {
    let issuer = Issuer::with("a", "ES256");
    let daemon = in_file("algorithms: [ES256], leeway: 0s, remember: 1h", &issuer);
    let token = issuer.sign("a", &hex('a'), &["--expires", "4s"]);
    assert_eq!(told(&daemon, 'a', &token), "");
    assert_eq!(told(&daemon, 'a', &token), "");
    assert!(calls(&daemon, "next", true) >= 1.0);
    eventually("it expires", || told(&daemon, 'a', &token) == INVALID);
    assert!(count(&daemon, "expired_total") >= 1.0);
}

#[test]
fn a_configuration_error_is_shown_at_its_place() {
    let wrong = |config: &str, data: &str| {
        let folder = folder(&format!(
            "http: [{{ listen: '127.0.0.1:0' }}]\npolicies:\n  - name: jwt\n    plugin: PLUGINS/jwt.wasm\n    \
             config: {config}\n    data: {data}\n"
        ));
        std::fs::write(folder.path().join("keys"), "\u{feff}{\"keys\": []}\r\n").unwrap();
        std::fs::write(folder.path().join("none"), "[{}]").unwrap();
        let output = run(&["check"], folder.path());
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    };
    let keys = "{ jwks: { file: keys, format: raw } }";
    for (config, data, expected) in [
        (
            "{ issuer: a, audience: b, algorithms: [RS256, HS256] }",
            keys,
            "config.yaml:5:59: policies[0].config.algorithms[1]: unknown value `HS256`, expected one \
             of RS256, RS384, RS512, PS256, ES256, ES384, EdDSA",
        ),
        (
            "{ issuer: a, audience: b, keys: jwk }",
            keys,
            "config.yaml:5:45: policies[0].config.keys: there is no data source `jwk`, expected one \
             that `data` declares",
        ),
        ("{ issuer: a }", keys, "config.yaml:5:13: policies[0].config: missing key `audience`"),
        (
            "{ issuers: [{ issuer: a, audience: b }, { issuer: a, audience: '' }] }",
            keys,
            "config.yaml:5:76: policies[0].config.issuers[1].audience: empty, expected a text",
        ),
        (
            "{ issuer: a, audience: b }",
            "{ jwks: { file: none, format: raw } }",
            "not a JWK set: a list, expected a mapping with the list `keys`",
        ),
    ] {
        let said = wrong(config, data);
        assert!(said.contains(expected), "{said}\n{expected}");
    }
}

fn karuta(arguments: &[&str], folder: &Path) -> (i32, String) {
    let Output { status, stdout, stderr } = run(arguments, folder);
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    (status.code().unwrap(), text.trim_end().to_owned())
}

#[test]
fn the_command_makes_keys_that_only_their_owner_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let karuta = |arguments: &[&str]| karuta(&[&["jwt"], arguments].concat(), folder.path());
    let (code, set) = karuta(&["keygen", "a.pem"]);
    let set: serde_json::Value = serde_json::from_str(&set).unwrap();
    assert_eq!(code, 0);
    let [key] = &set["keys"].as_array().unwrap()[..] else { panic!("{set}") };
    assert_eq!((&key["kty"], &key["alg"], &key["d"]), (&"RSA".into(), &"RS256".into(), &().into()));
    let mode = std::fs::metadata(folder.path().join("a.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (code, said) = karuta(&["keygen", "a.pem"]);
    assert_eq!(code, 1);
    assert!(said.contains("a.pem: File exists"), "{said}");
    let options = ["--algorithm", "EdDSA", "--kid", "ed", "--jwks", "keys.json"];
    assert_eq!(karuta(&[&["keygen", "b.pem"], &options[..]].concat()), (0, String::new()));
    let (code, said) = karuta(&[&["keygen", "c.pem"], &options[..]].concat());
    assert_eq!((code, &*said), (1, "karuta: the JWK set already has a key `ed`"));
    assert!(!folder.path().join("c.pem").exists());
    let (code, said) = karuta(&["keygen", "c.pem", "--algorithm", "HS256"]);
    assert_eq!(code, 2);
    assert!(said.contains("expected one of RS256, "), "{said}");
}

#[test]
fn the_command_says_what_is_wrong_with_a_token() {
    let issuer = Issuer::with("a", "ES256");
    let keys = issuer.keys_file();
    let folder = keys.parent().unwrap();
    // Its info dictionary is d4:name1:ae.
    std::fs::write(folder.join("it.torrent"), "d8:announce1:u4:infod4:name1:aee").unwrap();
    let hash = Sha1::digest(b"d4:name1:ae").into_iter().map(|byte| format!("{byte:02X}"));
    let hash: String = hash.collect();
    let good = issuer.sign("a", "it.torrent", &["--expires", "1h"]);
    let verify = |token: &str, more: &[&str]| {
        let base = ["jwt", "verify", "--jwks", "keys.json", token];
        karuta(&[&base[..], more].concat(), folder)
    };
    let all = ["--torrent", "it.torrent", "--issuer", ISSUER, "--audience", AUDIENCE];
    assert_eq!(verify(&good, &all), (0, "the token is valid".into()));
    assert_eq!(verify(&good, &["--torrent", &hash]), (0, "the token is valid".into()));
    assert_eq!(verify(&good, &[]), (0, "the token is valid".into()));
    let expired = issuer.sign("a", "it.torrent", &["--expires", "1s"]);
    eventually("it expires", || verify(&expired, &["--leeway", "0s"]).0 == 1);
    let stranger = Issuer::with("a", "ES256").sign("a", &hex('a'), &[]);
    for (token, more, said) in [
        (&*good, &["--torrent", &hex('a')][..], "infohash: another torrent"),
        (&good, &["--issuer", "evil"], "iss: not `evil`"),
        (&good, &["--audience", "b"], "aud: not `b`"),
        (&good, &["--algorithm", "RS256"], "alg: \"ES256\" is not allowed"),
        (&good, &["--claim", "other", "--torrent", &hex('a')], "other: missing"),
        (&issuer.sign("a", &hex('a'), &["--kid", "b"]), &[], "kid: \"b\" is unknown"),
        (&stranger, &[], "the signature is wrong"),
        ("nonsense", &[], "there are not three parts"),
    ] {
        assert_eq!(verify(token, more), (1, format!("karuta: {said}")));
    }
    let (code, said) = verify(&good, &["--torrent", &hash[1..]]);
    assert_eq!(code, 2);
    assert!(said.contains("neither 40 or 64 hexadecimal digits nor a readable file"), "{said}");
    let (code, said) = karuta(&["jwt", "sign", &hex('a'), "--key", "nowhere.pem"], folder);
    assert_eq!(code, 2, "{said}");
}

/// Clients announce both info-hashes of a hybrid torrent with one URL (BEP 52).
#[test]
fn a_token_covers_all_info_hashes_of_a_torrent() {
    let issuer = Issuer::with("a", "ES256");
    let keys = issuer.keys_file();
    let folder = keys.parent().unwrap();
    let v2 = "d9:file treede12:meta versioni2e4:name1:ae";
    let hybrid = "d9:file treede12:meta versioni2e4:name1:a6:pieces0:e";
    for (file, info) in [("v2.torrent", v2), ("hybrid.torrent", hybrid)] {
        std::fs::write(folder.join(file), format!("d8:announce1:u4:info{info}e")).unwrap();
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let daemon = in_file("algorithms: [ES256]", &issuer);
    let is_in = |hash: &[u8], token: &str| {
        let announce = Announce::of_hash(hash[..20].try_into().unwrap());
        announce.with(&format!("jwt={token}")).http(daemon.http).is_ok()
    };
    let sums = |info: &str| (Sha1::digest(info).to_vec(), Sha256::digest(info).to_vec());
    let (sha1, sha256) = sums(v2);
    for token in [issuer.sign("a", "v2.torrent", &[]), issuer.sign("a", &hex(&sha256), &[])] {
        assert!(is_in(&sha256, &token) && !is_in(&sha1, &token), "{token}");
    }
    let (sha1, sha256) = sums(hybrid);
    let token = issuer.sign("a", "hybrid.torrent", &[]);
    assert!(is_in(&sha256, &token) && is_in(&sha1, &token), "{token}");
    let verify = |torrent: &str| {
        let arguments = ["jwt", "verify", "--jwks", "keys.json", "--torrent", torrent, &token];
        karuta(&arguments, folder).0
    };
    assert_eq!((verify("hybrid.torrent"), verify(&hex(&sha256)), verify(&hex(&sha1))), (0, 0, 0));
    assert_eq!(verify("v2.torrent"), 1);
    std::fs::write(folder.join("page.torrent"), "<html>").unwrap();
    let (code, said) = karuta(&["jwt", "sign", "page.torrent", "--key", "a.pem"], folder);
    assert_eq!(code, 2);
    assert!(said.contains("the file is not a torrent: it is not valid bencode"), "{said}");
}
