//! unit3d: announces of members are decided as by UNIT3D-Announce, with its texts.

use karuta_tests::announce::{Announce, escape, hex, reply, torrent};
use karuta_tests::bencode::Value;
use karuta_tests::{Daemon, bencode, get, root, run};

const POLICY: &str = "
accounts: {}
policies:
  - name: members
    plugin: PLUGINS/unit3d.wasm
    credential: ['path:passkey']
    config: { blacklist_from: blacklist }
    data: { blacklist: { file: blacklist.txt, format: strings } }
";
const MEMBER: &str = "1c2cc1a0a3bd0e6fc2a94e6bb7f0a1d5";
const AGENT: &str = "User-Agent: qBittorrent/5.0.0";

fn start() -> Daemon {
    let folder = karuta_tests::folder(&format!("{}{POLICY}", karuta_tests::LISTENERS));
    std::fs::write(folder.path().join("blacklist.txt"), "-XL\n").unwrap();
    let daemon = Daemon::start_in(folder);
    daemon.accounts(&format!("add 7 --passkey {MEMBER} --group 3"));
    daemon.accounts(&format!("torrent 12 --info-hash {}", hex('a')));
    daemon
}

fn ask(daemon: &Daemon, passkey: &str, query: &str, headers: &[&str]) -> Value {
    bencode::read(&get(daemon.http, &format!("/announce/{passkey}?{query}"), headers).body)
}

#[test]
fn announces_get_the_texts_of_unit3d_announce() {
    let daemon = start();
    let says = |query: &str, headers: &[&str], expected: &str| {
        let dictionary = ask(&daemon, MEMBER, query, headers);
        assert_eq!(reply(&dictionary).err().unwrap_or_default(), expected, "{query}");
        // In seconds, and in minutes (BEP 31).
        for (key, wait) in [("interval", 5400), ("min interval", 5400), ("retry in", 90)] {
            assert_eq!(dictionary.get(key) == Some(&Value::Integer(wait)), !expected.is_empty());
        }
    };
    let mine = Announce::of('a');
    let query = mine.query();
    says(&query, &[AGENT], "");
    let negative = query.replace("uploaded=0", "uploaded=-1");
    says(&negative, &[AGENT], "Invalid 'uploaded' (must be greater than or equal to 0).");
    says(&query.replace("&left=1", ""), &[AGENT], "Query parameter 'left' is missing.");
    let wide = query.replace("compact=1", "compact=0");
    says(&wide, &[AGENT], "Your client does not support compact announces.");
    says(&format!("{query}&event=x"), &[AGENT], "Unsupported 'event' type.");
    says(&query, &[AGENT, "Accept-Language: de"], "Abnormal access blocked.");
    says(&query, &[], "Invalid user agent.");
    let browser = "Browser, crawler or cheater is not allowed.";
    says(&query, &["User-Agent: Mozilla/5.0"], browser);
    let listed = mine.clone().client("-XL");
    says(&listed.query(), &[AGENT], "Client is not acceptable. Please check our blacklist.");
    let port = mine.clone().port(6346);
    says(&port.query(), &[AGENT], "Illegal port: 6346. Port should be between 6881-64999.");
    says(&Announce::of('b').query(), &[AGENT], "InfoHash not found.");
    daemon.accounts("set 7 --leech false");
    says(&query, &[AGENT], "Your downloading privileges have been disabled.");
    says(&mine.clone().seeder().query(), &[AGENT], "");
    daemon.accounts("group 3 --enabled false");
    says(
        &mine.clone().seeder().query(),
        &[AGENT],
        "User does not exist. Please re-download the .torrent file.",
    );
    daemon.accounts("set 7 --leech true --group 5");
    says(&query, &[AGENT], "");
    daemon.accounts("group 5 --enabled false");
    says(&query, &[AGENT], "Your account is not enabled. (Current: banned).");
    let nobody = "0".repeat(32);
    for (passkey, expected) in [
        (&*nobody, "Passkey does not exist. Please re-download the .torrent file."),
        ("short", "Invalid passkey."),
    ] {
        let dictionary = ask(&daemon, passkey, &query, &[AGENT]);
        assert_eq!(reply(&dictionary).unwrap_err(), expected);
    }
    let leaving = ask(&daemon, &nobody, &mine.event("stopped").query(), &[]);
    assert_eq!(leaving.text("warning message").as_deref(), Some("Stopped peer doesn't exist."));
}

#[test]
fn a_fourth_peer_and_a_download_too_many_are_refused() {
    let daemon = start();
    let says = |announce: &Announce, expected: &str| {
        let dictionary = ask(&daemon, MEMBER, &announce.query(), &[AGENT]);
        assert_eq!(reply(&dictionary).err().unwrap_or_default(), expected);
    };
    let peer = |number: u8| {
        let peer_id = [b'a' + number; 20];
        Announce::of('a').port(7000 + u16::from(number)).peer_id(peer_id).event("started")
    };
    (0..3).for_each(|number| says(&peer(number), ""));
    says(&peer(3), "You already have 3 peers on this torrent. Ignoring.");
    // Those that are there go on.
    (0..3).for_each(|number| says(&peer(number).event(""), ""));
    says(&peer(2).event("stopped"), "");
    says(&peer(3), "");
    daemon.accounts(&format!("torrent 13 --info-hash {}", hex('b')));
    daemon.accounts("group 3 --slots 1");
    says(&Announce::of('b').event("started"), "Download slot limit reached");
    says(&Announce::of('b').seeder().event("started"), "");
}

#[test]
fn who_is_refused_keeps_the_slot_of_the_peer_that_is_in_the_swarm() {
    let daemon = start();
    daemon.accounts(&format!("torrent 13 --info-hash {}", hex('b')));
    daemon.accounts("group 3 --slots 1");
    let says = |announce: &Announce, headers: &[&str], expected: &str| {
        let dictionary = ask(&daemon, MEMBER, &announce.query(), headers);
        assert_eq!(reply(&dictionary).err().unwrap_or_default(), expected);
    };
    let (first, second) = (Announce::of('a'), Announce::of('b'));
    says(&first.clone().event("started"), &[AGENT], "");
    for refused in [first.clone().event("started"), first.clone(), first.clone().seeder()] {
        says(&refused, &[AGENT, "Accept-Language: de"], "Abnormal access blocked.");
        says(&second.clone().event("started"), &[AGENT], "Download slot limit reached");
    }
    says(&first.clone().event("stopped"), &[AGENT], "");
    says(&second.clone().event("started"), &[AGENT], "");
    // The peer leaves at once with its torrent, and then a refused announce keeps nothing.
    daemon.accounts("torrent 13 --deleted true");
    let refused = second.event("started");
    says(&refused, &[AGENT], "Torrent has been deleted.");
    says(&first.event("started"), &[AGENT], "");
}

#[test]
fn scrapes_need_a_passkey() {
    let daemon = start();
    let scrape = |passkey: &str| {
        let hash = escape(&torrent('a'));
        let answer = get(daemon.http, &format!("/scrape/{passkey}?info_hash={hash}"), &[]);
        bencode::read(&answer.body).text("failure reason")
    };
    let unknown = "Passkey does not exist. Please re-download the .torrent file.";
    assert_eq!(scrape(MEMBER), None);
    assert_eq!(scrape("nobody").as_deref(), Some(unknown));
}

#[test]
fn its_cases_pass() {
    let cases = root().join("plugins/unit3d/cases.yaml");
    let plugin = karuta_tests::plugins().join("unit3d.wasm");
    let [plugin, cases] = [&plugin, &cases].map(|path| path.to_str().unwrap());
    let output = run(&["plugin", "test", plugin, cases], &root());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("all 15 cases passed"), "{output:?}");
}
