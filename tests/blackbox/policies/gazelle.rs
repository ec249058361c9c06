//! gazelle: announces and scrapes of members are decided as by Ocelot, with its texts.

use karuta_tests::announce::{Announce, escape, hex, reply, torrent};
use karuta_tests::bencode::Value;
use karuta_tests::{Daemon, bencode, get, root, run};

const POLICY: &str = "
accounts: {}
policies:
  - name: members
    plugin: PLUGINS/gazelle.wasm
    config: { whitelist_from: whitelist, compact: true }
    data: { whitelist: { file: whitelist.txt, format: strings, edits: true } }
";
const MEMBER: &str = "1c2cc1a0a3bd0e6fc2a94e6bb7f0a1d5";

fn start() -> Daemon {
    let folder = karuta_tests::folder(&format!("{}{POLICY}", karuta_tests::LISTENERS));
    std::fs::write(folder.path().join("whitelist.txt"), "-KA\n").unwrap();
    let daemon = Daemon::start_in(folder);
    daemon.accounts(&format!("add 7 --passkey {MEMBER}"));
    daemon.accounts(&format!("torrent 12 --info-hash {}", hex('a')));
    daemon
}

#[test]
fn announces_get_the_texts_of_ocelot() {
    let daemon = start();
    let says = |passkey: &str, query: &str, expected: &str| {
        // The second time, the verdict may be a remembered one.
        for _ in 0..2 {
            let answer = get(daemon.http, &format!("/announce/{passkey}?{query}"), &[]);
            let dictionary = bencode::read(&answer.body);
            assert_eq!(reply(&dictionary).err().unwrap_or_default(), expected);
            // In seconds, and in minutes (BEP 31).
            for (key, wait) in [("interval", 5400), ("min interval", 5400), ("retry in", 90)] {
                assert_eq!(
                    dictionary.get(key) == Some(&Value::Integer(wait)),
                    !expected.is_empty()
                );
            }
        }
    };
    let mine = Announce::of('a');
    says(MEMBER, &mine.query(), "");
    says("nobody", &mine.query(), "Passkey not found");
    says(MEMBER, &Announce::of('b').query(), "Unregistered torrent");
    let wide = mine.query().replace("&compact=1", "");
    says(MEMBER, &wide, "Your client does not support compact announces");
    let other = mine.clone().client("-XL");
    says(MEMBER, &other.query(), "Your client is not on the whitelist");
    daemon.accounts("set 7 --leech false");
    says(MEMBER, &mine.query(), "Access denied, leeching forbidden");
    says(MEMBER, &mine.clone().seeder().query(), "");
    daemon.accounts("set 7 --leech true");
    daemon.accounts("torrent 12 --deleted true --reason 1");
    says(MEMBER, &mine.query(), "Unregistered torrent: Dupe");
    daemon.accounts("ban 7");
    says(MEMBER, &mine.query(), "Passkey not found");
    let leaving = mine.event("stopped");
    assert_eq!(
        get(daemon.http, &format!("/announce/{MEMBER}?{}", leaving.query()), &[]).status,
        200
    );
}

#[test]
fn scrapes_need_a_passkey() {
    let daemon = start();
    let scrape = |passkey: &str| {
        let hash = escape(&torrent('a'));
        let answer = get(daemon.http, &format!("/scrape/{passkey}?info_hash={hash}"), &[]);
        bencode::read(&answer.body).text("failure reason")
    };
    assert_eq!(scrape(MEMBER), None);
    assert_eq!(scrape("nobody").as_deref(), Some("Passkey not found"));
}

#[test]
fn its_cases_pass() {
    let cases = root().join("plugins/gazelle/cases.yaml");
    let plugin = karuta_tests::plugins().join("gazelle.wasm");
    let [plugin, cases] = [&plugin, &cases].map(|path| path.to_str().unwrap());
    let output = run(&["plugin", "test", plugin, cases], &root());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("all 10 cases passed"), "{output:?}");
}
