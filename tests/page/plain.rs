//! The page without a script.

use karuta_tests::announce::Announce;

use crate::browser::{Browser, ENTER};
use crate::tracker;

#[test]
fn every_panel_reads_and_every_form_works_without_a_script() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start(6);
    tracker::announce(&daemon);
    browser.scripts(false);
    browser.show(&format!("http://{}/", daemon.admin));
    for (panel, text) in [
        ("#bar", "ends in 6 days"),
        ("#now", "Requests"),
        ("#policies", "clients"),
        ("#shadow", "torrents"),
        ("#explain", "Announce or scrape"),
        ("#refused", "unapproved client"),
        ("#swarms", "6464646464646464646464646464646464646464"),
        ("#lists", "denied.txt"),
        ("#edits", "Look up"),
        ("#reload", "same"),
        ("#listeners", "tracker.example"),
        ("#accounts", "There are none"),
        ("#machine", "Snapshot now"),
        ("#log", "ready"),
    ] {
        assert!(browser.text(panel).contains(text), "{panel}: {}", browser.text(panel));
    }
    browser.tab_to("#explain-url");
    browser.keys(&format!("/announce?{}", Announce::of('a').client("-UT3550-").query()));
    browser.tab_to("#explain .main");
    browser.keys(&ENTER.to_string());
    browser.says("#explain .verdict", "rejected by clients: unapproved client");
    browser.tab_to("#hash");
    browser.keys(&format!("{}{ENTER}", "61".repeat(20)));
    browser.says("#swarms", "of its peers");
    browser.tab_to("#edit-entry");
    browser.keys(&"61".repeat(20));
    browser.tab_to("#edit-note");
    browser.keys("ticket 41");
    browser.tab_to("#edits [value=add]");
    browser.keys(&ENTER.to_string());
    browser.says("#edits", "is listed in torrents/denied, by the edit");
    browser.says("#edits", "ticket 41");
    browser.says("#edits", "4 peers share it");
    browser.tab_to("#undo");
    browser.keys(&ENTER.to_string());
    browser.says("#edits", "is not listed in torrents/denied");
    browser.tab_to("#swarms td:last-child a");
    browser.keys(&ENTER.to_string());
    browser.says("#edits", "19 peers share it");
    browser.tab_to("#edits [value=add]");
    browser.keys(&ENTER.to_string());
    browser.says("#edits", "1 edit that the file does not say");
    browser.tab_to("#edits [value=fold]");
    browser.keys(&ENTER.to_string());
    browser.says("#edits", "torrents/denied: wrote 1 edits into the file");
    let file = std::fs::read_to_string(daemon.folder.path().join("denied.txt")).expect("a list");
    assert_eq!(file.lines().count(), 3, "{file}");
    browser.tab_to("#edit-entry");
    browser.keys(&"66".repeat(20));
    browser.tab_to("#edits [value=remove]");
    browser.keys(&ENTER.to_string());
    browser.says("#edits", "is not listed in torrents/denied");
    browser.tab_to("#edit-entry");
    browser.keys(&format!("nonsense{ENTER}"));
    browser.says("#edits", "expected 40 hexadecimal digits");
    browser.tab_to("#machine .main");
    browser.keys(&ENTER.to_string());
    browser.says("#machine", "ago");
    browser.says("#log", "/api/snapshot");
    assert!(browser.text("#machine").contains("Nobody has looked yet"));
    browser.tab_to("#machine form[action^='/doctor'] button");
    browser.keys(&ENTER.to_string());
    browser.says("#machine", "Examined");
    browser.says("#machine", "open files");
    browser.tab_to("#reload .main");
    browser.keys(&ENTER.to_string());
    browser.says("#reload", "unchanged");
    // The theme needs none either.
    browser.prefer("light");
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.run(ground);
    browser.tab_to("#theme-system");
    browser.keys("\u{e014}\u{e014}");
    assert_ne!(browser.run(ground), light, "dark");
    browser.assert_quiet();
}
