//! What the page looks like, and whether everyone can use it.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karuta_tests::{eventually, get, target};
use serde_json::Value;

use crate::browser::{Browser, ENTER};
use crate::{missing, tracker};

/// The widths that are looked at: of a phone, of a screen, and of a screen at 200 %.
const SIZES: [(&str, u32, f64); 3] =
    [("phone", 320, 1.0), ("screen", 1280, 1.0), ("large", 640, 2.0)];

/// Returns the folder for what the tests of the page fetch and make.
pub fn folder() -> PathBuf {
    target().parent().expect("a target folder").join("page")
}

/// Returns the source of axe-core; `None` if it is not installed.
fn axe() -> Option<String> {
    let path = folder().join("node_modules/axe-core/axe.min.js");
    let source = fs::read_to_string(&path).ok();
    if source.is_none() {
        missing(&format!("{} is missing; `make test` fetches it", path.display()));
    }
    source
}

/// Unfolds everything.
fn unfold(browser: &Browser) {
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)");
}

#[test]
fn axe_finds_nothing_in_either_theme_at_any_size() {
    let (Some(browser), Some(axe)) = (Browser::open(), axe()) else { return };
    let daemon = tracker::start(6);
    tracker::announce(&daemon);
    // So that its findings are shown.
    get(daemon.admin, "/api/doctor", &[]);
    let hash = "61".repeat(20);
    let url = format!(
        "http://{}/?hash={hash}&url=%2Fannounce%3Finfo_hash%3Dx&list=torrents%2Fdenied&entry={hash}",
        daemon.admin
    );
    for theme in ["light", "dark"] {
        browser.prefer(theme);
        for (name, width, scale) in SIZES {
            browser.size(width, scale);
            browser.show(&url);
            unfold(&browser);
            browser.run(&axe);
            let found = browser.run_to_end("return (await axe.run()).violations");
            let found: Vec<_> = found.as_array().expect("a list").iter().map(short).collect();
            assert!(found.is_empty(), "{theme}, {name}: {found:#?}");
            browser.assert_narrow(&format!("{theme}, {name}"));
        }
    }
    // What only an action brings.
    browser.size(320, 1.0);
    browser.tab_to("#edits [value=add]");
    browser.keys(&ENTER.to_string());
    browser.says("#edits", "Undo: remove it");
    browser.tab_to("#live-switch");
    browser.keys(&ENTER.to_string());
    browser.says("#live-switch", "Stop");
    tracker::announce(&daemon);
    browser.says("#live-rows", "-UT3550");
    browser.run(&axe);
    let found = browser.run_to_end("return (await axe.run()).violations");
    let found: Vec<_> = found.as_array().expect("a list").iter().map(short).collect();
    assert!(found.is_empty(), "after actions: {found:#?}");
    browser.assert_narrow("after actions");
    browser.stretch(320, 1.0);
    for panel in ["edits", "refused"] {
        let picture = STANDARD.decode(browser.picture(&format!("#{panel}"))).expect("base64");
        fs::create_dir_all(folder().join("pictures")).expect("a folder");
        fs::write(folder().join(format!("pictures/{panel}-used.png")), picture).expect("kept");
    }
    browser.assert_quiet();
}

/// Checks that everyone can use the page as it is now, if axe-core is installed.
pub fn assert_accessible(browser: &Browser, when: &str) {
    let Some(axe) = axe() else { return };
    browser.run(&axe);
    let found = browser.run_to_end("return (await axe.run()).violations");
    let found: Vec<_> = found.as_array().expect("a list").iter().map(short).collect();
    assert!(found.is_empty(), "{when}: {found:#?}");
    browser.assert_narrow(when);
}

/// Returns what matters of a violation.
fn short(violation: &Value) -> String {
    let nodes = violation["nodes"].as_array().expect("a list").iter();
    let nodes: Vec<_> =
        nodes.map(|node| format!("{}: {}", node["html"], node["failureSummary"])).collect();
    format!("{}: {}", violation["id"], nodes.join("\n"))
}

/// Leaves pictures of all panels in `target/page`.
#[test]
fn every_panel_has_its_picture() {
    let Some(browser) = Browser::open() else { return };
    let daemon = tracker::start(6);
    tracker::announce(&daemon);
    get(daemon.admin, "/api/doctor", &[]);
    let hash = "61".repeat(20);
    let url = format!("http://{}/?hash={hash}&list=torrents%2Fdenied&entry={hash}", daemon.admin);
    browser.show(&url);
    let line = "return document.querySelector('#now .line').getAttribute('d').length";
    eventually("there is a line", || browser.run(line).as_f64() > Some(30.0));
    let pictures = folder().join("pictures");
    fs::create_dir_all(&pictures).expect("a folder");
    for theme in ["light", "dark"] {
        browser.prefer(theme);
        for (size, width, scale) in SIZES {
            browser.size(width, scale);
            browser.show(&url);
            browser.run("document.querySelector('#policy-1').open = true");
            browser.stretch(width, scale);
            let panels =
                browser.run("return [...document.querySelectorAll('.panel[id]')].map(p => p.id)");
            let panels = panels.as_array().expect("a list").iter().filter_map(Value::as_str);
            for (name, selector) in panels.map(|id| (id.to_owned(), format!("#{id}"))).chain([
                ("bar".to_owned(), "#bar".to_owned()),
                ("all".to_owned(), "body".to_owned()),
            ]) {
                let bytes = STANDARD.decode(browser.picture(&selector)).expect("base64");
                assert!(bytes.starts_with(b"\x89PNG"), "{name}");
                fs::write(pictures.join(format!("{name}-{theme}-{size}.png")), bytes)
                    .expect("kept");
            }
        }
    }
    browser.assert_quiet();
}
