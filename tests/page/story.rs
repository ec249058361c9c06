//! The first five minutes with the page, by keyboard alone.

use std::fs;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, eventually};

use crate::browser::{Browser, ENTER};
use crate::tracker;

#[test]
fn a_complaint_is_understood_and_settled() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start(6);
    tracker::announce(&daemon);
    browser.show(&format!("http://{}/", daemon.admin));

    browser.says("#word", "look");
    browser.says(".why", "the certificate of 127.0.0.1:");
    browser.says(".why", "ends in 6 days");

    // A user complains. His announce is pasted, as it stands in the log of a proxy.
    let complaint = Announce::of('a').client("-UT3550-").port(2000);
    let line = format!(
        "203.0.113.9 - - [29/Nov/2026:15:00:00 +0000] \"GET /announce?{} HTTP/1.1\" 200 44",
        complaint.query()
    );
    browser.keys("ge");
    browser.tab_to("#explain-url");
    browser.keys(&line);
    browser.tab_to("#explain-from");
    browser.keys(&format!("203.0.113.9{ENTER}"));
    browser.says("#explain .verdict", "rejected by clients: unapproved client");
    browser.says("#explain .command", "karuta explain 'http://tracker/announce?info_hash=");

    // There are more like it.
    browser.keys("gx");
    browser.says("#refused", "unapproved client");
    browser.tab_to("#refused a.said-text");
    browser.keys(&ENTER.to_string());
    browser.says("#refused", "5 like that");

    // The file is changed, and the bar says so.
    let path = daemon.folder.path().join("config.yaml");
    let yaml = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, yaml.replace("-qB5]", "-qB5, -UT]")).expect("it is written");
    browser.says("#bar", "The file differs from what serves.");
    browser.keys("gr");
    browser.says("#reload", "differs");
    browser.tab_to("#reload button.main");
    browser.keys(&ENTER.to_string());
    browser.says("#reload", "applied");
    browser.says("#reload", "generation 2");
    browser.says("#reload", "same");
    let answered = complaint.http(daemon.http);
    answered.expect("the client is let in");

    browser.keys("ge");
    browser.tab_to("#explain-url");
    browser.keys(&format!("http://tracker/announce?{}", complaint.query()));
    browser.tab_to("#explain .main");
    browser.keys(&ENTER.to_string());
    browser.says("#explain .verdict", "ok");
    browser.assert_quiet();
}

#[test]
fn what_was_not_looked_at_is_not_applied() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start(90);
    browser.show(&format!("http://{}/", daemon.admin));
    browser.says("#word", "serving");
    // Otherwise the page notices the change before the form is sent.
    browser.scripts(false);
    browser.show(&format!("http://{}/", daemon.admin));
    let path = daemon.folder.path().join("config.yaml");
    let yaml = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, format!("{yaml}# another comment\n")).expect("it is written");
    browser.tab_to("#reload button.main");
    browser.keys(&ENTER.to_string());
    browser.says("#reload", "refused");
    browser.scripts(true);
    browser.assert_quiet();
}

#[test]
fn old_numbers_do_not_look_new() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start(90);
    browser.show(&format!("http://{}/", daemon.admin));
    let line = "return document.querySelector('#now .line').getAttribute('d').length";
    eventually("there is a line", || browser.run(line).as_f64() > Some(0.0));
    let is_old = "return document.querySelector('#now').matches('.old') \
                  && document.querySelector('#policies').matches('.old') \
                  && document.querySelector('#totals').matches('.old')";
    assert_eq!(browser.run(is_old), false);
    daemon.signal("STOP");
    browser.says("#lost", "no news since ");
    browser.says("#word", "? no news");
    assert_eq!(browser.run(is_old), true);
    browser.says("#now .head", " s old");
    daemon.signal("CONT");
    eventually("there is news", || browser.run(is_old) == false);
    assert_eq!(browser.run("return document.querySelector('#lost').hidden"), true);
}

#[test]
fn refusals_are_shown_as_they_are_made() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start(90);
    browser.show(&format!("http://{}/?text=unapproved", daemon.admin));
    browser.tab_to("#live-switch");
    browser.keys(&ENTER.to_string());
    browser.says("#live-switch", "Stop");
    tracker::announce(&daemon);
    browser.says("#live-rows", "unapproved client");
    browser.says("#live-rows", "-UT3550");
    browser.keys(&ENTER.to_string());
    browser.says("#live-switch", "Live");
    browser.assert_quiet();
    browser.tab_to("#refused-address");
    browser.keys("nowhere");
    browser.tab_to("#live-switch");
    browser.keys(&ENTER.to_string());
    browser.says("#live-said", "from: expected an address");
}

#[test]
fn drops_are_shown_live_and_limits_beside_the_policies() {
    let Some(browser) = Browser::open() else { return };
    let daemon = Daemon::start(
        "tracker: { limits: { per_second: 1000 } }
swarms: { limits: { torrents: 1 } }
policies:
  - name: wall
    plugin: PLUGINS/test-hostile.wasm
    config: { rules: [{ on: announce, do: drop, query: wall }] }
",
    );
    browser.show(&format!("http://{}/", daemon.admin));
    browser.tab_to("#live-switch");
    browser.keys(&ENTER.to_string());
    browser.says("#live-switch", "Stop");
    let dropped = Announce::of('a').client("-TR4050-").with("wall=");
    assert_eq!(dropped.get(daemon.http, &[]).status, 0);
    browser.says("#live-rows", "-TR4050");
    browser.says("#live-rows", "dropped");

    Announce::of('a').http(daemon.http).expect("let in");
    browser.tab_to("#explain-url");
    browser.keys(&format!("/announce?{}", Announce::of('b').query()));
    browser.tab_to("#explain .main");
    browser.keys(&ENTER.to_string());
    browser.says("#explain .verdict", "ok");
    browser.says("#explain", "but now rejected by swarms.limits: torrent limit reached");
    browser.says("#explain", "1000 a second and 1000 at once for 127.0.0.1/32");
    browser.says("#explain", "1 of 1 torrents");
    browser.says("#explain .command", "karuta explain 'http://tracker/announce?");
    browser.assert_quiet();
    browser.tab_to("#explain-url");
    browser.run("document.querySelector('#explain-url').value = 'nonsense'");
    browser.tab_to("#explain .main");
    browser.keys(&ENTER.to_string());
    browser.says("#explain .said", "not a URL");
    assert_eq!(browser.run("return document.querySelectorAll('#explain .command').length"), 0);
}

#[test]
fn what_a_policy_says_and_how_it_fails_is_shown() {
    let Some(browser) = Browser::open() else { return };
    let rules = "plugin: PLUGINS/test-hostile.wasm, config: { rules: [{ on: announce,";
    let daemon = Daemon::start(&format!(
        "policies:\n  - {{ name: speaks, {rules} do: log, text: hello }}] }} }}\n  \
         - {{ name: traps, on_error: reject, {rules} do: trap }}] }} }}\n"
    ));
    Announce::of('a').http(daemon.http).expect_err("the policy failed");
    daemon.logs("policy failed");
    browser.show(&format!("http://{}/", daemon.admin));
    browser.run("document.querySelectorAll('#policies details').forEach(one => one.open = true)");
    browser.says("#policy-1", "hello");
    browser.says("#policy-2", "How it failed");
    browser.says("#policy-2", "wasm backtrace");
    browser.assert_quiet();
}
