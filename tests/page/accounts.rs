//! The panel of a private tracker's books.

use karuta_tests::{Daemon, LISTENERS, folder};

use crate::browser::Browser;
use crate::tracker;

const ACCOUNTS: &str = "\
accounts:
  credential: ['path:passkey']
";

#[test]
fn the_panel_says_who_is_in_the_books_and_how_the_database_is() {
    let Some(browser) = Browser::open() else { return };
    let panel = || {
        let text = browser.text("#accounts");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let daemon = tracker::start(90);
    browser.show(&format!("http://{}/", daemon.admin));
    browser.says("#accounts", "There are none.");

    let daemon = Daemon::start(ACCOUNTS);
    daemon.accounts("add 7");
    daemon.accounts("add 8");
    daemon.accounts(&format!("torrent 12 --info-hash {}", "61".repeat(20)));
    browser.show(&format!("http://{}/", daemon.admin));
    let text = panel();
    for part in ["members 2 torrents 1 clients 0", "in accounts.db alone"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // Nobody listens at this port.
    let folder =
        folder(&format!("{LISTENERS}{ACCOUNTS}  database: {{ file: url }}\n  node: one\n"));
    std::fs::write(folder.path().join("url"), "postgres://a:b@127.0.0.1:1/c").expect("a URL");
    let daemon = Daemon::start_in(folder);
    browser.show(&format!("http://{}/", daemon.admin));
    browser.says("#accounts", "Connection refused");
    let text = panel();
    for part in ["Away for", "state is tried again", "rows to be written 0", "members read never"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    browser.assert_quiet();
}
