//! What the page is served with, and who may do what on it.

use karuta_tests::{exchange, get};

use crate::browser::{Browser, ENTER};
use crate::tracker;

const TOKENS: &str = "{ listen: '127.0.0.1:0', token: { file: owner }, tokens: \
                      [{ name: reader, token: { file: reader }, may: [read] }] }";

#[test]
fn answers_to_browsers_say_what_they_may_load() {
    let daemon = tracker::start(90);
    let page = get(daemon.admin, "/", &[]);
    let asset = page.body_text();
    let asset = asset.split("href=\"").find_map(|rest| rest.split_once(".css\"")).expect("a style");
    let asset = format!("{}.css", asset.0);
    for (path, kept) in [("/", "no-store"), (&asset, "public, max-age=31536000, immutable")] {
        let head = get(daemon.admin, path, &[]).head.to_lowercase();
        for line in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
             img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: same-origin",
            "cross-origin-opener-policy: same-origin",
            &format!("cache-control: {kept}"),
        ] {
            assert!(head.lines().any(|found| found == line), "{path}: {line}\n{head}");
        }
    }
    for wrong in ["/assets/page.css", "/assets/", "/assets/../api/status", "/index.html"] {
        assert_eq!(get(daemon.admin, wrong, &[]).status, 404, "{wrong}");
    }
}

#[test]
fn forms_of_other_pages_are_refused() {
    let daemon = tracker::start(90);
    let send = |path: &str, kind: &str, origin: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             {origin}Content-Length: 7\r\n\r\nexpect=",
            daemon.admin
        );
        exchange(daemon.admin, request.as_bytes()).status
    };
    let form = "application/x-www-form-urlencoded";
    for path in ["/reload", "/snapshot", "/explain", "/lists", "/doctor"] {
        assert_eq!(send(path, form, ""), 403, "{path}: from nowhere");
        assert_eq!(send(path, form, "Origin: null\r\n"), 403, "{path}: hidden");
        assert_eq!(send(path, form, "Origin: https://example.org\r\n"), 403, "{path}: elsewhere");
        let own = format!("Origin: http://{}\r\n", daemon.admin);
        assert_eq!(send(path, "text/plain", &own), 403, "{path}: no form");
    }
    let own = format!("Origin: http://{}\r\n", daemon.admin);
    assert_eq!(send("/reload", form, &own), 303);
}

#[test]
fn a_wrong_token_is_asked_for_again() {
    let daemon = tracker::start_with(90, TOKENS);
    let request = format!(
        "POST /api/login HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n\r\ntoken=wrong",
        daemon.admin
    );
    let answer = exchange(daemon.admin, request.as_bytes());
    assert_eq!(answer.status, 401);
    let shown = answer.body_text();
    assert!(
        shown.contains("This token is not known.") && shown.contains("name=\"token\""),
        "{shown}"
    );
}

#[test]
fn a_reader_sees_networks_and_which_right_is_missing() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start_with(90, TOKENS);
    tracker::announce(&daemon);
    let log_in = |token: &str| {
        browser.show(&format!("http://{}/?hash={}", daemon.admin, "61".repeat(20)));
        browser.tab_to("#token");
        browser.keys(&format!("{token}{ENTER}"));
    };
    log_in(&tracker::token("reader"));
    browser.says("#bar", "token reader");
    browser.show(&format!("http://{}/?hash={}", daemon.admin, "61".repeat(20)));
    browser.says("#swarms", "127.0.0.0/24");
    browser.says("#refused", "127.0.0.0/24");
    browser.says("#refused", "needs the right peers");
    for (panel, right) in [
        ("#explain", "explain"),
        ("#edits", "lists"),
        ("#reload", "reload"),
        ("#machine", "reload"),
    ] {
        browser.says(panel, &format!("needs the right {right}"));
        let script = format!("return document.querySelector('{panel} form button').disabled");
        assert_eq!(browser.run(&script), true, "{panel}");
    }
    let shown = browser.text("body");
    assert!(!shown.contains("127.0.0.1:6881") && !shown.contains("the-token"), "{shown}");
    browser.tab_to("#bar form button");
    browser.keys(&ENTER.to_string());
    browser.says("main", "Token of the admin API");
    log_in(&tracker::token("owner"));
    browser.says("#bar", "token admin");
    browser.show(&format!("http://{}/?hash={}", daemon.admin, "61".repeat(20)));
    browser.says("#swarms", "127.0.0.1:");
    browser.assert_quiet();
}
