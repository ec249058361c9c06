//! A client's token, up to where its signature is checked, and its claims.
#![no_main]

use std::time::Duration;

use jwt_rules::{Algorithm, Header, Rules, Token, info_hash};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = info_hash(text);
    let Ok(token) = Token::read(text) else { return };
    let rules = Rules {
        algorithms: Algorithm::ALL.to_vec(),
        info_hash_claim: "infohash".to_owned(),
        require_exp: false,
        leeway: Duration::from_secs(30),
    };
    if let Ok(header) = Header::read(token.header) {
        let _ = rules.algorithm(&header);
    }
    if let Ok(claims) = token.claims() {
        let _ = rules.claims(&claims, [b'a'; 20], 1.8e9);
    }
});
