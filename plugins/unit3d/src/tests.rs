use karuta_plugin::testing::{self, Data, Member, Request, Torrent};
use karuta_plugin::{Transport, testing::Answer};

use super::*;

const PEER_ID: [u8; 20] = *b"-qB5000-abcdefghijkl";

fn policy(config: &str) -> Unit3d {
    testing::init(config).unwrap()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A leecher of a member that may download, at an approved torrent.
fn request() -> Request {
    Request {
        peer_id: PEER_ID,
        port: 51413,
        member: Some(Member::default()),
        torrent: Some(Torrent::default()),
        left: Some(1),
        query: pairs(&[("uploaded", "0"), ("downloaded", "0"), ("left", "1"), ("compact", "1")]),
        headers: pairs(&[("user-agent", "qBittorrent/5.0.0")]),
        credential: Some("1c2cc1a0a3bd0e6fc2a94e6bb7f0a1d5".to_owned()),
        ..Request::default()
    }
}

fn with_query(name: &str, value: &str) -> Request {
    let mut request = request();
    request.query.retain(|(known, _)| known != name);
    request.query.extend(pairs(&[(name, value)]));
    request
}

fn without_query(name: &str) -> Request {
    let mut request = request();
    request.query.retain(|(known, _)| known != name);
    request
}

fn with_headers(headers: &[(&str, &str)]) -> Request {
    Request { headers: pairs(headers), ..request() }
}

fn member(rights: Rights) -> Member {
    Member { rights, ..Member::default() }
}

fn of(member: Member) -> Request {
    Request { member: Some(member), ..request() }
}

fn at(torrent: Torrent) -> Request {
    Request { torrent: Some(torrent), ..request() }
}

/// A torrent of this status.
fn moderated(status: u32) -> Torrent {
    Torrent { status, marks: Marks::empty(), ..Torrent::default() }
}

fn failure(answer: &Answer) -> &str {
    answer.failure.as_deref().unwrap_or_default()
}

const ENABLED: Rights = Rights::ENABLED.union(Rights::LEECH);

#[test]
fn each_failure_has_the_text_of_unit3d_announce() {
    testing::set_data("blacklist", Data::Strings(vec!["-XL".to_owned()]));
    let deleted = Torrent { marks: Marks::APPROVED | Marks::DELETED, ..Torrent::default() };
    let banned = |group| Member { group, ..member(Rights::LEECH) };
    let agent = |agent| with_headers(&[("user-agent", agent)]);
    let strange = "Browser, crawler or cheater is not allowed.";
    let passkey = |passkey: &str| Request { credential: Some(passkey.to_owned()), ..request() };
    let port = |port| Request { port, ..request() };
    let slots = |slots, leeching, here| {
        of(Member { slots: Some(slots), leeching, here, ..Member::default() })
    };
    let started =
        |here| Request { event: Event::Started, ..of(Member { here, ..Member::default() }) };
    let seeder = |request| Request { left: Some(0), ..request };
    for (request, expected) in [
        (request(), ""),
        (with_query("uploaded", "-1"), "Invalid 'uploaded' (must be greater than or equal to 0)."),
        (
            with_query("downloaded", "x"),
            "Invalid 'downloaded' (must be greater than or equal to 0).",
        ),
        (with_query("left", ""), "Invalid 'left' (must be greater than or equal to 0)."),
        (with_query("numwant", "-1"), "Invalid 'numwant' (must be greater than or equal to 0)."),
        (with_query("compact", "0"), "Your client does not support compact announces."),
        (without_query("compact"), ""),
        (with_query("event", "Started"), "Unsupported 'event' type."),
        (with_query("event", "paused"), ""),
        (without_query("uploaded"), "Query parameter 'uploaded' is missing."),
        (without_query("downloaded"), "Query parameter 'downloaded' is missing."),
        (without_query("left"), "Query parameter 'left' is missing."),
        (
            with_headers(&[("user-agent", "aria2/1.37"), ("want-digest", "SHA-512")]),
            "Abnormal access blocked.",
        ),
        (with_headers(&[("accept-language", "de")]), "Abnormal access blocked."),
        (with_headers(&[("referer", "x")]), "Abnormal access blocked."),
        (with_headers(&[("accept-charset", "x")]), "Abnormal access blocked."),
        (with_headers(&[]), "Invalid user agent."),
        (agent(&"x".repeat(65)), "The user agent of this client is too long."),
        (agent(&"x".repeat(64)), ""),
        (
            Request { peer_id: *b"-XL0012-abcdefghijkl", ..request() },
            "Client is not acceptable. Please check our blacklist.",
        ),
        (agent("Mozilla/5.0"), strange),
        (agent("Links (2.29)"), strange),
        (agent("Googlebot"), strange),
        (agent("unknown"), strange),
        (port(1023), "Illegal port: 1023. Port should be between 6881-64999."),
        (port(6699), "Illegal port: 6699. Port should be between 6881-64999."),
        (port(1024), ""),
        (passkey("short"), "Invalid passkey."),
        (passkey(&"0".repeat(33)), "Invalid passkey."),
        (Request { credential: None, ..request() }, "Invalid passkey."),
        (Request { torrent: None, ..request() }, "InfoHash not found."),
        (at(deleted), "Torrent has been deleted."),
        (Request { member: None, ..request() }, NO_PASSKEY),
        (of(banned(3)), "User does not exist. Please re-download the .torrent file."),
        (of(member(Rights::ENABLED)), "Your downloading privileges have been disabled."),
        (
            Request { left: None, ..of(member(Rights::ENABLED)) },
            "Your downloading privileges have been disabled.",
        ),
        (seeder(of(member(Rights::ENABLED))), ""),
        (of(banned(5)), "Your account is not enabled. (Current: banned)."),
        (of(banned(1)), "Your account is not enabled. (Current: validating)."),
        (of(banned(20)), "Your account is not enabled. (Current: disabled)."),
        (of(Member { group: 5, ..member(ENABLED) }), ""),
        (started(3), "You already have 3 peers on this torrent. Ignoring."),
        (started(2), ""),
        (slots(2, 2, 0), "Download slot limit reached"),
        (slots(2, 1, 0), ""),
        (slots(2, 2, 1), ""),
        (seeder(slots(0, 0, 0)), ""),
    ] {
        let answer = request.announce(&mut policy(r#"{"blacklist_from": "blacklist"}"#));
        assert_eq!(failure(&answer), expected, "{request:?}");
        let wait = (!expected.is_empty()).then_some(Some(Duration::from_mins(90)));
        assert_eq!((answer.retry_in, answer.warning), (wait, None), "{request:?}");
        let left = Request { event: Event::Stopped, ..request }.announce(&mut policy("{}"));
        assert_eq!(failure(&left), "", "a peer can always leave");
    }
}

#[test]
fn the_first_check_that_fails_in_the_order_of_unit3d_announce_is_named() {
    testing::set_data("blacklist", Data::Strings(vec!["-XL".to_owned()]));
    let mut policy = policy(r#"{"blacklist_from": "blacklist"}"#);
    // Everything is wrong, and is put right from the first check on.
    let mut all = Request {
        peer_id: *b"-XL0012-abcdefghijkl",
        port: 80,
        query: pairs(&[("left", "-1"), ("compact", "0"), ("event", "x")]),
        headers: pairs(&[("referer", "x")]),
        credential: None,
        event: Event::Started,
        torrent: None,
        member: None,
        ..request()
    };
    let mut says = |all: &Request, expected: &str| {
        assert!(failure(&all.announce(&mut policy)).starts_with(expected), "{expected}");
    };
    says(&all, "Invalid 'left'");
    all.query = pairs(&[("left", "1"), ("compact", "0"), ("event", "x")]);
    says(&all, "Your client does not support compact");
    all.query = pairs(&[("left", "1"), ("event", "x")]);
    says(&all, "Unsupported 'event' type.");
    all.query = pairs(&[("left", "1")]);
    says(&all, "Query parameter 'uploaded' is missing.");
    all.query = request().query;
    says(&all, "Abnormal access blocked.");
    all.headers.clear();
    says(&all, "Invalid user agent.");
    let long = format!("Mozilla{}", "x".repeat(64));
    all.headers = pairs(&[("user-agent", &long)]);
    says(&all, "The user agent of this client is too long.");
    all.headers = pairs(&[("user-agent", "Mozilla")]);
    says(&all, "Client is not acceptable.");
    all.peer_id = PEER_ID;
    says(&all, "Browser, crawler or cheater");
    all.headers = request().headers;
    says(&all, "Illegal port: 80.");
    all.port = 6881;
    says(&all, "Invalid passkey.");
    all.credential = request().credential;
    says(&all, "InfoHash not found.");
    all.torrent = Some(Torrent { marks: Marks::DELETED, ..moderated(0) });
    says(&all, "Torrent has been deleted.");
    all.torrent = Some(moderated(0));
    says(&all, "Torrent is pending moderation.");
    all.torrent = request().torrent;
    says(&all, "Passkey does not exist.");
    let (group, here, slots) = (5, 3, Some(0));
    let wrong = Member { group, here, slots, ..member(Rights::empty()) };
    all.member = Some(wrong);
    says(&all, "Your downloading privileges");
    all.member = Some(Member { rights: Rights::LEECH, ..wrong });
    says(&all, "Your account is not enabled.");
    all.member = Some(Member { rights: ENABLED, ..wrong });
    says(&all, "You already have 3 peers");
    all.member = Some(Member { rights: ENABLED, here: 0, ..wrong });
    says(&all, "Download slot limit");
}

#[test]
fn torrents_that_are_not_approved_get_a_warning_and_come_back_soon() {
    for (status, text) in [
        (0, "Torrent is pending moderation."),
        (2, "Torrent has been rejected."),
        (3, "Torrent has been postponed."),
    ] {
        let answer = at(moderated(status)).announce(&mut policy("{}"));
        assert_eq!((answer.verdict, answer.warning.as_deref()), (Verdict::Next, Some(text)));
        let half = Duration::from_secs(30);
        assert_eq!((answer.interval, answer.min_interval), (half, half));
        assert_eq!((answer.num_want, answer.credit), (0, Some((0, 0))), "nothing counts");
        let stranger = Request { member: None, ..at(moderated(status)) };
        assert_eq!(failure(&stranger.announce(&mut policy("{}"))), text);
    }
}

#[test]
fn a_peer_that_stops_without_being_there_is_told() {
    let says = |here, transport| {
        let leaving = Member { here, ..Member::default() };
        let leaving = Request { event: Event::Stopped, transport, ..of(leaving) };
        let answer = leaving.announce(&mut policy("{}"));
        assert_eq!(answer.verdict, Verdict::Next);
        answer.warning
    };
    assert_eq!(says(0, Transport::Http).as_deref(), Some("Stopped peer doesn't exist."));
    assert_eq!(says(1, Transport::Http), None);
}

#[test]
fn a_request_over_udp_has_no_headers_and_need_not_have_a_query() {
    testing::set_data("blacklist", Data::Strings(vec!["-XL".to_owned()]));
    let mut policy = policy(r#"{"blacklist_from": "blacklist"}"#);
    let bare =
        Request { transport: Transport::Udp, headers: Vec::new(), query: Vec::new(), ..request() };
    assert_eq!(failure(&bare.announce(&mut policy)), "");
    let listed = Request { peer_id: *b"-XL0012-abcdefghijkl", ..bare };
    assert!(failure(&listed.announce(&mut policy)).starts_with("Client is not acceptable."));
}

#[test]
fn the_best_of_the_site_s_the_member_s_and_the_torrent_s_is_credited() {
    let lucky = ENABLED | Rights::FREELEECH | Rights::DOUBLE_UPLOAD;
    let percent = |upload_percent, download_percent| Torrent {
        upload_percent,
        download_percent,
        ..Torrent::default()
    };
    let marked = |mark| Torrent { marks: Marks::APPROVED | mark, ..Torrent::default() };
    for (config, member, torrent, expected) in [
        ("{}", member(ENABLED), Torrent::default(), (100, 100)),
        ("{}", member(ENABLED), percent(200, 25), (200, 25)),
        ("{}", member(ENABLED), percent(0, 0), (100, 0)),
        ("{}", member(lucky), Torrent::default(), (200, 0)),
        ("{}", member(lucky), percent(255, 100), (255, 0)),
        ("{}", member(ENABLED), marked(Marks::TOKEN), (100, 0)),
        ("{}", member(ENABLED), marked(Marks::FEATURED), (200, 0)),
        (r#"{"upload_percent": 150}"#, member(ENABLED), Torrent::default(), (150, 100)),
        (r#"{"download_percent": 0}"#, member(ENABLED), Torrent::default(), (100, 0)),
        (r#"{"download_percent": 50}"#, member(ENABLED), percent(100, 75), (100, 50)),
    ] {
        let request = Request { torrent: Some(torrent), ..of(member) };
        let answer = request.announce(&mut policy(config));
        assert_eq!(answer.credit, Some(expected), "{config} {torrent:?}");
    }
    let refused = of(member(Rights::empty())).announce(&mut policy("{}"));
    assert_eq!(refused.credit, Some((100, 100)), "what is refused is counted");
    let unknown = Request { member: None, ..request() }.announce(&mut policy("{}"));
    assert_eq!(unknown.credit, None);
}

#[test]
fn who_announces_too_early_gets_no_peers_without_a_word() {
    use std::time::SystemTime;
    let at = |seconds| testing::set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let mut policy = policy(r#"{"enforced_interval": "29m"}"#);
    let mut wanted = |event, seconds| {
        at(seconds);
        let answer = Request { event, ..request() }.announce(&mut policy);
        assert_eq!((failure(&answer), &answer.warning), ("", &None));
        answer.num_want
    };
    assert_eq!(wanted(Event::Started, 0), 50);
    assert_eq!(wanted(Event::None, 1739), 0);
    assert_eq!(wanted(Event::Completed, 1739), 50, "the first of its kind");
    assert_eq!(wanted(Event::Completed, 1739), 0);
    assert_eq!(wanted(Event::None, 1741), 50, "what came too early does not count");
}

#[test]
fn scrapes_need_a_passkey_and_know_approved_torrents() {
    let mut policy = policy("{}");
    let answer = request().scrape(&mut policy);
    assert_eq!((failure(&answer), answer.hidden), ("", false));
    assert!(at(moderated(0)).scrape(&mut policy).hidden);
    assert!(Request { torrent: None, ..request() }.scrape(&mut policy).hidden);
    let answer = Request { member: None, ..request() }.scrape(&mut policy);
    assert_eq!(failure(&answer), NO_PASSKEY);
}

#[test]
fn what_is_configured_is_obeyed() {
    let config = r#"{"groups": {"frozen": 9}, "max_peers": 1, "headers": [],
        "failure_interval": "1h", "moderation_interval": "1m"}"#;
    let mut policy = policy(config);
    let frozen = Member { group: 9, ..member(Rights::LEECH) };
    let answer = of(frozen).announce(&mut policy);
    assert_eq!(failure(&answer), "Your account is not enabled. (Current: frozen).");
    assert_eq!(answer.retry_in, Some(Some(Duration::from_hours(1))));
    assert_eq!(answer.attributes, [(MEMBER.to_owned(), "1".to_owned())]);
    let one = Request { event: Event::Started, ..of(Member { here: 1, ..Member::default() }) };
    let answer = one.announce(&mut policy);
    assert_eq!(failure(&answer), "You already have 1 peers on this torrent. Ignoring.");
    let aria2 = with_headers(&[("user-agent", "aria2/1.37"), ("want-digest", "SHA-512")]);
    assert_eq!(failure(&aria2.announce(&mut policy)), "");
    assert_eq!(at(moderated(0)).announce(&mut policy).interval, Duration::from_mins(1));
}

#[test]
fn a_wrong_configuration_is_refused_with_path_and_reason() {
    for (config, message) in [
        (
            r#"{"blacklist_from": "x"}"#,
            "blacklist_from: there is no data source `x`, expected one that `data` declares",
        ),
        (r#"{"headers": "referer"}"#, "headers: found a text, expected a list"),
    ] {
        assert_eq!(testing::init::<Unit3d>(config).err(), Some(message.into()));
    }
    let unknown = testing::init::<Unit3d>(r#"{"blacklist": []}"#).err().unwrap().to_string();
    assert!(unknown.starts_with("blacklist: unknown key, expected one of"), "{unknown}");
}
