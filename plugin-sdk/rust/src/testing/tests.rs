use super::*;
use crate::{Observer, log, request, response, swarm};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

/// A policy that records all that it is told, and changes all that it can.
#[derive(Default)]
struct Witness(Vec<String>);

impl Policy for Witness {
    type Config = Config;
    fn init(_: Config, context: &Context) -> Result<Self, Error> {
        Ok(Self(vec![context.name.clone()]))
    }
}

impl AnnounceFilter for Witness {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        self.0 = vec![
            announce.info_hash().to_string(),
            announce.address().to_string(),
            String::from_utf8_lossy(&announce.client()).into_owned(),
            announce.port().to_string(),
            format!("{:?} {:?}", announce.event(), announce.transport()),
            announce.num_want().to_string(),
            format!("{} {}", announce.is_seeder(), announce.is_proxied()),
            format!("{} {}", announce.is_overridden(), announce.has_credential()),
            String::from_utf8_lossy(&request::peer_id()).into_owned(),
            format!("{:?} {} {}", request::left(), request::uploaded(), request::downloaded()),
            format!("{:?} {:?}", request::query_param("a"), request::query_param("b")),
            format!("{:?} {:?}", request::path_param("a"), request::header("x-a")),
            format!("{:?} {:?}", request::credential(), request::attribute("a")),
            format!("{} {}", request::client_address(), request::socket_address()),
            format!("{:?}", swarm::current()),
            format!("{:?}", swarm::lookup(InfoHash::from_bytes([1; 20]))),
        ];
        response::set_retry_in(Some(Duration::from_secs(241)));
        response::warn("soon");
        response::set_interval(response::interval() + Duration::from_millis(500));
        response::set_min_interval(Duration::ZERO);
        response::set_num_want(3);
        response::set_attribute("b", "c");
        response::add_peer("192.0.2.9:81".parse().unwrap(), response::Place::Mixed);
        let scope = response::Scope::CLIENT | response::Scope::ROLE;
        response::remember(scope, Duration::from_millis(60_900));
        log::info!("{} lines", self.0.len());
        log::warn!("plain");
        response::reject("no")
    }
}

impl ScrapeFilter for Witness {
    fn on_scrape(&mut self, scrape: &Scrape) -> Verdict {
        self.0 = vec![
            scrape.info_hash().to_string(),
            scrape.address().to_string(),
            format!("{:?}", scrape.transport()),
            format!("{} {}", scrape.is_proxied(), scrape.has_credential()),
            format!("{:?}", request::peer_id() == [0; 20]),
        ];
        response::hide();
        Verdict::Next
    }
}

fn pairs(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.into(), value.into())]
}

#[test]
fn a_policy_sees_the_whole_announce_and_may_change_the_whole_answer() {
    let swarm = Swarm { seeders: 1, leechers: 2, completed: 3 };
    let request = Request {
        address: "2001:db8::1".parse().unwrap(),
        client_address: Some("192.0.2.7".parse().unwrap()),
        proxy: Some("10.0.0.1:80".parse().unwrap()),
        event: Event::Completed,
        transport: Transport::Https,
        left: Some(0),
        uploaded: 1,
        downloaded: 2,
        query: pairs("a", "1"),
        path: pairs("a", "2"),
        headers: pairs("X-A", "3"),
        credential: Some("4".into()),
        attributes: pairs("a", "5"),
        swarms: vec![(InfoHash::from_bytes([0xaa; 20]), swarm)],
        ..Request::default()
    };
    let mut policy = init::<Witness>("{}").unwrap();
    assert_eq!(policy.0, ["test"]);
    let answer = request.announce(&mut policy);
    assert_eq!(
        policy.0,
        [
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "2001:db8::1",
            "-TR4050-",
            "6881",
            "Event::Completed Transport::Https",
            "50",
            "true true",
            "true true",
            "-TR4050-abcdefghijkl",
            "Some(0) 1 2",
            r#"Some("1") None"#,
            r#"Some("2") Some("3")"#,
            r#"Some("4") Some("5")"#,
            "192.0.2.7 10.0.0.1:80",
            "Stats { seeders: 1, leechers: 2, completed: 3 }",
            "None",
        ]
    );
    let expected = Answer {
        verdict: Verdict::Reject,
        failure: Some("no".into()),
        retry_in: Some(Some(Duration::from_mins(5))),
        warning: Some("soon".into()),
        interval: Duration::from_secs(1801),
        min_interval: Duration::from_secs(1),
        num_want: 3,
        hidden: false,
        credit: None,
        hides_peer: false,
        attributes: vec![("a".into(), "5".into()), ("b".into(), "c".into())],
        added: vec![("192.0.2.9:81".parse().unwrap(), Place::Mixed)],
        locality: None,
        remember: Some((Scope::CLIENT | Scope::ROLE, Duration::from_mins(1))),
        log: vec![(Level::Info, "16 lines".into()), (Level::Warn, "plain".into())],
    };
    assert_eq!(answer, expected);
}

#[test]
fn a_policy_sees_the_scrape_and_may_hide_it() {
    let mut policy = Witness::default();
    let request = Request { transport: Transport::Udp, ..Request::default() };
    let answer = request.scrape(&mut policy);
    let hash = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_eq!(policy.0, [hash, "192.0.2.1", "Transport::Udp", "false false", "true"]);
    assert!(answer.hidden);
    assert_eq!(answer.verdict, Verdict::Next);
}

#[test]
fn outside_a_request_there_is_nothing() {
    assert_eq!(request::peer_id(), [0; 20]);
    assert_eq!(request::query_param("a"), None);
    assert_eq!((response::interval(), request::left()), (Duration::ZERO, Some(0)));
    log::error!("lost");
}

/// A policy that changes more than an answer can hold.
struct Flood;

impl Policy for Flood {
    type Config = Config;
    fn init(_: Config, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl AnnounceFilter for Flood {
    fn on_announce(&mut self, _: &Announce) -> Verdict {
        for port in 0..300 {
            response::set_attribute("a", &"ü".repeat(1000));
            let peer = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            response::add_peer(peer, response::Place::First);
            response::add_peer(peer, response::Place::Mixed);
        }
        response::reject(&"x".repeat(2000))
    }
}

#[test]
fn an_answer_is_bounded_as_on_the_host() {
    let request = Request { attributes: pairs("a", "5"), ..Request::default() };
    let answer = request.announce(&mut Flood);
    assert_eq!((answer.attributes.len(), answer.added.len()), (1 + 256, 512));
    assert_eq!(answer.attributes[1].1.len(), 1024);
    assert_eq!(answer.failure.unwrap().len(), 1024);
}

/// A policy that ranks by age, and records outcomes.
struct Control(Vec<String>);

impl Policy for Control {
    type Config = Config;
    fn init(_: Config, context: &Context) -> Result<Self, Error> {
        assert_eq!(context.name(), "test");
        let (role, worker, workers) = (context.role(), context.worker(), context.workers());
        Ok(Self(vec![format!("{role:?} {worker} {workers}")]))
    }
}

impl PeerRanker for Control {
    fn rank(&mut self, announce: &Announce, candidates: &[Candidate]) -> Vec<u32> {
        self.0.push(format!("{} of {:?}", announce.port(), request::credential()));
        let mut order: Vec<u32> = (0..candidates.len() as u32).collect();
        order.sort_by_key(|&at| {
            let candidate = &candidates[at as usize];
            (candidate.age(), candidate.address(), candidate.is_seeder(), candidate.label())
        });
        order
    }
}

impl Observer for Control {
    fn observe(&mut self, batch: &[Outcome]) -> Result<(), Error> {
        for outcome in batch {
            self.0.push(format!(
                "{} {} {} {:?} {:?} {:?} {:?}",
                outcome.id(),
                outcome.announce().port(),
                String::from_utf8_lossy(&outcome.peer_id()),
                outcome.credential(),
                outcome.attributes(),
                outcome.decided_by(),
                outcome.left(),
            ));
            assert_eq!(outcome.verdict(), Verdict::Reject);
            assert_eq!((outcome.uploaded(), outcome.downloaded()), (1, 2));
            assert_eq!((outcome.uploaded_delta(), outcome.downloaded_delta()), (3, 4));
            assert_eq!(outcome.since_previous(), Some(Duration::from_mins(1)));
            assert_eq!(outcome.time(), SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        }
        Ok(())
    }
}

#[test]
fn a_policy_ranks_peers_and_observes_outcomes() {
    let mut policy: Control = init_as(Role::Control, "{}").unwrap();
    let credential = Some("a".to_owned());
    let request = Request {
        credential,
        uploaded: 1,
        downloaded: 2,
        attributes: pairs("b", "c"),
        ..Request::default()
    };
    let aged = |seconds| Peer { age: Duration::from_secs(seconds), ..Peer::default() };
    assert_eq!(request.rank(&mut policy, &[aged(9), aged(3), aged(5)]), [1, 2, 0]);
    let ending = Ending {
        id: 7,
        verdict: Verdict::Reject,
        decided_by: Some("d".into()),
        uploaded_delta: 3,
        downloaded_delta: 4,
        since_previous: Some(Duration::from_mins(1)),
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
    };
    policy.observe(&[request.outcome(&ending)]).unwrap();
    let outcome = r#"7 6881 -TR4050-abcdefghijkl Some("a") [("b", "c")] Some("d") None"#;
    assert_eq!(policy.0, ["Role::Control 0 1", r#"6881 of Some("a")"#, outcome]);
}
