//! A policy is changed on the page: looked at first, tried, kept, and taken back; by keyboard.

use std::fs;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, eventually, exchange};

use crate::browser::{Browser, ENTER};
use crate::looks::assert_accessible;
use crate::tracker;

/// Lets another client in, or not.
fn allow(daemon: &Daemon, clients: &str) {
    let path = daemon.folder.path().join("config.yaml");
    let yaml = fs::read_to_string(&path).expect("the configuration");
    let (before, rest) = yaml.split_once("allow: [").expect("a list");
    let (_, after) = rest.split_once(']').expect("its end");
    fs::write(&path, format!("{before}allow: [{clients}]{after}")).expect("it is written");
}

fn press(browser: &Browser, button: &str) {
    browser.tab_to(button);
    browser.keys(&ENTER.to_string());
}

fn is_let_in(daemon: &Daemon) -> bool {
    Announce::of('a').client("-UT3550-").http(daemon.http).is_ok()
}

#[test]
fn a_policy_is_looked_at_tried_kept_and_taken_back() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start(90);
    browser.show(&format!("http://{}/", daemon.admin));
    browser.keys("gv");
    press(&browser, "#preview form[action^='/preview'] button");
    browser.says("#preview", "Nothing would change.");

    allow(&daemon, "-TR4, -qB5, -UT");
    browser.says("#bar", "The file differs from what serves.");
    browser.keys("gr");
    press(&browser, "#reload [formaction^='/preview']");
    browser.says("#preview", "Would be generation 2: replaced clients.");
    browser.says("#preview pre", "+    - -UT");
    browser.says("#preview", "No request was asked about: none is recorded yet.");
    assert!(!is_let_in(&daemon), "nobody has applied it");

    // What was not looked at is not applied.
    allow(&daemon, "-TR4, -qB5, -UT, -XX");
    press(&browser, "#preview [value=apply]");
    browser.says("#reload", "the file or a plugin has changed since the preview");
    assert!(!is_let_in(&daemon));

    press(&browser, "#reload [formaction^='/preview']");
    browser.says("#preview pre", "+    - -XX");
    let found = "Of the last 2 requests, 0 would become the same; 2 rejected by clients → ok.";
    browser.says("#preview", found);
    browser.says("#preview table", "-UT3550- (2)");
    assert_accessible(&browser, "a preview with differences");
    browser.tab_to("#max-change");
    press(&browser, "#preview [value=try]");
    browser.says("#trial", "Generation 2 is on trial");
    browser.says("#trial", "4 min ");
    browser.says("#bar", "Generation 2 is on trial.");
    assert!(is_let_in(&daemon));
    // The numbers of the guards come by themselves.
    browser.says("#trial", "refused of 1 requests");
    (0..6).for_each(|_| assert!(is_let_in(&daemon)));
    browser.says("#trial", "refused of 7 requests");
    browser.says("#trial", "0 of 7");
    assert_accessible(&browser, "on trial");
    press(&browser, "#trial form[action^='/confirm'] button");
    browser.says("#reload", "confirmed");
    eventually("the trial is over", || {
        browser.run("return document.querySelector('#trial') === null") == true
    });

    browser.keys("gh");
    press(&browser, "#history a[href*='diff_from=1']");
    browser.says("#history", "From generation 1 to 2");
    browser.says("#history pre", "+    - -UT");
    press(&browser, "#history a[href*='back=1']");
    browser.says("#history", "Generation 1 serves again, as a new generation");
    browser.says("#history", "A restart serves generation 1 too.");
    assert_accessible(&browser, "before going back");
    assert!(is_let_in(&daemon));
    browser.tab_to("#word");
    browser.keys("1");
    press(&browser, "#history form[action^='/rollback'] button");
    browser.says("#bar", "Generation 1 serves again.");
    browser.says("#reload", "generation 1 again");
    assert!(!is_let_in(&daemon));
    assert_accessible(&browser, "pinned");

    // It was turned down; the preview says so, and it can be applied all the same.
    press(&browser, "#reload .main");
    browser.says("#reload", "was turned down for generation 1");
    press(&browser, "#reload [formaction^='/preview']");
    browser.says("#preview", "was turned down for generation 1");
    press(&browser, "#preview [value=apply]");
    eventually("it serves", || is_let_in(&daemon));
    browser.assert_quiet();
}

#[test]
fn without_a_script_a_trial_is_tried_and_taken_back() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start(90);
    browser.scripts(false);
    allow(&daemon, "-UT");
    browser.show(&format!("http://{}/", daemon.admin));
    press(&browser, "#reload [formaction^='/preview']");
    browser.says("#preview", "Would be generation 2");
    press(&browser, "#preview [value=try]");
    browser.says("#trial", "min are left");
    assert!(is_let_in(&daemon));
    press(&browser, "#trial form[action^='/rollback'] button");
    browser.says("#reload", "taken back");
    browser.says("#bar", "Generation 1 serves again.");
    assert!(!is_let_in(&daemon));
    browser.show(&format!("http://{}/?back=2", daemon.admin));
    browser.says("#history", "Generation 2 serves again, as a new generation");
    // Who types something else goes nowhere.
    let body = "to=2&word=1";
    let request = format!(
        "POST /rollback HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(daemon.admin, request.as_bytes());
    assert_eq!(answer.status, 400);
    assert!(answer.body_text().contains("type 2 to go back"));
    assert!(!is_let_in(&daemon));
    browser.show(&format!("http://{}/?back=77&diff_from=x", daemon.admin));
    browser.says("#history", "generation 77 is not kept; kept are 1, 2, 3");
    browser.says("#history", "`x` is not the number of a generation");
    browser.scripts(true);
    browser.assert_quiet();
}
