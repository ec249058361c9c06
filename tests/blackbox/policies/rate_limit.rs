//! rate-limit: announces are counted over all workers and both transports.

use karuta_tests::announce::{Announce, escape, torrent, url_data};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, eventually, get, ipv6, run, write_config};

const TOO_MANY: &str = "too many announces";

fn limited(config: &str, more: &str) -> Daemon {
    Daemon::start(&format!(
        "tracker: {{ workers: 2 }}\npolicies:\n  - name: limits\n    \
         plugin: PLUGINS/rate-limit.wasm\n    config: {{ {config} }}\n{more}"
    ))
}

/// The kernel chooses the worker of each new connection.
#[test]
fn workers_and_transports_count_together() {
    let daemon = limited("by: address, requests: 20, every: 1h", "");
    let announce = Announce::of('a');
    for _ in 0..10 {
        announce.http(daemon.http).expect("within the limit");
        announce.udp(&Client::connect(daemon.udp)).expect("within the limit");
    }
    for _ in 0..10 {
        let answer = announce.get(daemon.http, &[]).body_text();
        let expected = "d14:failure reason18:too many announces\
                        8:intervali3600e12:min intervali3600e8:retry ini60ee";
        assert_eq!(answer, expected);
        assert_eq!(announce.udp(&Client::connect(daemon.udp)), Err(TOO_MANY.into()));
    }
    assert_eq!(Announce::of('b').http(daemon.http), Err(TOO_MANY.into()), "another torrent");
    announce.http(ipv6(daemon.http)).expect("another address");
    let scrape = Client::connect(daemon.udp).scrape(&[torrent('a')]);
    scrape.expect("scrapes are not counted");
}

#[test]
fn a_warning_comes_before_the_failure() {
    let daemon = limited("by: address, requests: 3, every: 90s, warn_from: 2", "");
    let mut said = Vec::new();
    for _ in 0..4 {
        let answer = Announce::of('a').dictionary(daemon.http);
        said.push(answer.text("warning message").or(answer.text("failure reason")));
    }
    let warnings = ["announce 2 of 3 within 90 s", "announce 3 of 3 within 90 s", TOO_MANY];
    assert_eq!(
        said,
        [None].into_iter().chain(warnings.map(|text| Some(text.into()))).collect::<Vec<_>>()
    );
}

#[test]
fn stopped_and_completed_are_never_refused() {
    let daemon = limited("by: address, requests: 2, every: 1h", "");
    Announce::of('a').port(1).seeder().http(ipv6(daemon.http)).expect("for company");
    let me = Announce::of('a').event("started");
    me.http(daemon.http).unwrap();
    me.http(daemon.http).unwrap();
    assert_eq!(me.http(daemon.http), Err(TOO_MANY.into()));

    let completed = me.clone().seeder().event("completed");
    let answer = completed.http(daemon.http).expect("it is counted");
    assert_eq!((answer.peers, answer.seeders), (vec![], 2));
    let counts = Client::connect(daemon.udp).scrape(&[torrent('a')]).unwrap();
    assert_eq!(counts, [[2, 1, 0]], "a download more");
    for _ in 0..3 {
        let answer = me.clone().seeder().event("stopped").http(daemon.http).expect("it may leave");
        assert_eq!((answer.peers, answer.seeders), (vec![], 1));
    }
    assert_eq!(me.http(daemon.http), Err(TOO_MANY.into()));
}

#[test]
fn a_new_rule_holds_from_the_reload_on() {
    let yaml = |config: &str| {
        format!(
            "{LISTENERS}policies:\n  - name: limits\n    plugin: PLUGINS/rate-limit.wasm\n    \
             config: {{ {config} }}\n"
        )
    };
    let daemon = Daemon::start_with(&yaml("requests: 1, every: 1h"));
    let reload = |config: &str| {
        write_config(daemon.folder.path(), &yaml(config));
        let admin = daemon.admin.to_string();
        let output = run(&["reload", "--admin", &admin], daemon.folder.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let announce = || Announce::of('a').http(daemon.http);
    eventually("the limit is reached", || announce() == Err(TOO_MANY.into()));
    reload("requests: 1, every: 1h, warn_from: 1");
    assert_eq!(announce(), Err(TOO_MANY.into()), "the same rule");
    reload("requests: 1, every: 2s");
    announce().expect("another rule");
    eventually("its limit is reached", || announce() == Err(TOO_MANY.into()));
    eventually("and its window ends", || announce().is_ok());
}

#[test]
fn a_new_window_admits_again() {
    let daemon = limited("by: address, requests: 1, every: 2s", "");
    let announce = || Announce::of('a').http(daemon.http);
    for _ in 0..2 {
        eventually("the limit is reached", || announce() == Err(TOO_MANY.into()));
        eventually("a new window is opened", || announce().is_ok());
    }
}

/// Returns whether an announce with a passkey in its path is admitted.
fn with_passkey(daemon: &Daemon, passkey: &str, over_ipv6: bool) -> bool {
    let address = if over_ipv6 { ipv6(daemon.http) } else { daemon.http };
    let path = format!("/announce/{passkey}?{}", Announce::of('a').query());
    let answer = get(address, &path, &[]).body_text();
    let refused = answer.contains(TOO_MANY);
    assert!(refused || answer.contains("8:interval"), "{answer}");
    !refused
}

#[test]
fn a_credential_counts_over_all_addresses_and_transports() {
    let rule = "    credential: ['path:passkey', 'query:key']\n";
    let daemon = limited("by: credential, requests: 3, every: 1h", rule);
    assert!(with_passkey(&daemon, "one", false) && with_passkey(&daemon, "one", true));
    let mut packet = Announce::of('a').packet(0, 1);
    packet.extend(url_data("/announce/one"));
    let udp = Client::connect(daemon.udp);
    packet[..8].copy_from_slice(&udp.id.to_be_bytes());
    assert_eq!(udp.exchange(&packet)[3], 1, "the third is let in");
    assert!(!with_passkey(&daemon, "one", false) && !with_passkey(&daemon, "one", true));
    assert_eq!(Announce::of('a').with("key=one").http(daemon.http), Err(TOO_MANY.into()));
    assert!(with_passkey(&daemon, "two", false));
    let long = "x".repeat(2000);
    for n in 0..5 {
        assert_eq!(with_passkey(&daemon, &long, n % 2 == 0), n < 3, "{n}");
    }
    assert!(with_passkey(&daemon, &long[1..], false));
    for n in 0..5 {
        assert_eq!(Announce::of('b').http(daemon.http).is_ok(), n < 3, "by address: {n}");
    }
    Announce::of('b').http(ipv6(daemon.http)).expect("another address");
}

#[test]
fn torrents_count_for_all_clients_or_for_each_address() {
    for (by, elsewhere) in [("torrent", false), ("address-torrent", true)] {
        let daemon = limited(&format!("by: {by}, requests: 2, every: 1h"), "");
        for n in 0..4 {
            assert_eq!(Announce::of('a').http(daemon.http).is_ok(), n < 2, "{by} {n}");
        }
        assert_eq!(Announce::of('a').http(ipv6(daemon.http)).is_ok(), elsewhere, "{by}");
        Announce::of('b').http(daemon.http).expect("another torrent");
    }
}

#[test]
fn announces_that_cannot_be_counted_are_refused() {
    let daemon = limited("by: torrent, requests: 2, every: 1h", "    limits: { storage: 64KiB }\n");
    let udp = Client::connect(daemon.udp);
    let of = |n: u16| {
        let mut info_hash = [0; 20];
        info_hash[..2].copy_from_slice(&n.to_be_bytes());
        Announce::of_hash(info_hash)
    };
    let let_in: Vec<bool> = (0..600).map(|n| of(n).udp(&udp).is_ok()).collect();
    let first = let_in.iter().position(|is_in| !is_in).expect("the storage is used up");
    assert!((300..600).contains(&first), "{first}");
    assert!(let_in[first..].iter().all(|is_in| !is_in));
    assert_eq!(of(599).udp(&udp), Err(TOO_MANY.into()));
    of(0).udp(&udp).expect("it has a count");
    assert_eq!(of(0).udp(&udp), Err(TOO_MANY.into()));
    of(599).event("completed").udp(&udp).expect("it is counted");
    of(599).event("stopped").udp(&udp).expect("it may leave");
    let uncounted = daemon.metric("karuta_plugin_uncounted_total{policy=\"limits\"}");
    assert_eq!(uncounted, (600 - first + 2) as f64);
    let hash = escape(&[0; 20]);
    assert!(
        get(daemon.http, &format!("/scrape?info_hash={hash}"), &[]).body_text().contains("files")
    );
}
