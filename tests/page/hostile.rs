//! Texts that come from outside stay texts.

use std::fs;

use karuta_tests::announce::{Announce, escape};
use karuta_tests::{Daemon, eventually, folder};

use crate::browser::{Browser, ENTER};

/// Markup, a quote that would end an attribute, and marks that change the direction of writing.
const EVIL: &str = "<img src=x onerror=document.title='owned'>\" autofocus onfocus='alert(1)' \u{202e}txet\u{2066}";

#[test]
fn markup_and_marks_of_direction_stay_text() {
    let Some(browser) = Browser::open() else { return };
    let reason = format!("{EVIL}{}", "x".repeat(1024 - EVIL.len()));
    let yaml = "
http: [{ listen: '[::]:0' }]
admin: { listen: '127.0.0.1:0' }
policies:
  - name: clients
    plugin: PLUGINS/client-approval.wasm
    config: { allow: [-TR4] }
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    mode: shadow
    config: { deny_from: list }
    data: { list: { file: '<img src=x onerror=alert(2)>.txt', format: info-hashes } }
";
    let folder = folder(yaml);
    let list = folder.path().join("<img src=x onerror=alert(2)>.txt");
    fs::write(&list, "6161616161616161616161616161616161616161\n").expect("a list");
    let daemon = Daemon::start_in(folder);
    let agent = Announce::of('a').client("<b>\"'&\u{1}\u{7f}");
    agent.http(daemon.http).expect_err("not let in");
    Announce::of('a').client("-TR4050-").http(daemon.http).expect("let in");
    // A list, and then a configuration, that cannot be read.
    fs::write(&list, format!("{EVIL}\n")).expect("a list");
    let path = daemon.folder.path().join("config.yaml");
    let before = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, format!("{before}\n\"{}\": 1\n", reason.replace('"', "'"))).expect("written");
    daemon.signal("HUP");
    daemon.logs("cannot use new data");
    eventually("the reload is refused", || daemon.admin_page("/api/reloads").contains("refused"));
    let query = escape(EVIL.as_bytes());
    let place = format!(
        "http://{}/?url={query}&from={query}&headers={query}&hash={query}&policy={query}&text={query}",
        daemon.admin
    );
    for url in [place, format!("http://{}/", daemon.admin)] {
        browser.show(&url);
        browser.says("#bar", "The last reload was refused.");
        let elements = browser.run("return document.querySelectorAll('main img, main b[onfocus], [onerror], [onfocus], [style]').length");
        assert_eq!(elements, 0, "{url}");
        let title = browser.run("return document.title");
        assert!(!title.as_str().expect("a title").contains("owned"));
        let marks =
            browser.run("return /[\\u202a-\\u202e\\u2066-\\u2069]/.test(document.body.innerText)");
        assert_eq!(marks, false, "marks of direction are spelt out");
        for (width, scale) in [(1280, 1.0), (320, 1.0)] {
            browser.size(width, scale);
            browser.assert_narrow(&format!("at {width}"));
        }
    }
    browser.says("#refused", "<b>\"'&\\x01\\x7f");
    browser.tab_to("#live-switch");
    browser.keys(&ENTER.to_string());
    browser.says("#live-switch", "Stop");
    agent.http(daemon.http).expect_err("not let in");
    browser.says("#live-rows", "<b>\"'&\\x01\\x7f");
    browser.says("#lists", "<img src=x onerror=alert(2)>.txt");
    browser.assert_quiet();
}
