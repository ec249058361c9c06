use super::*;
use crate::{log, request, response, swarm};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

/// Writes down all that it is told, and changes all that it can.
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
            format!("{} {} {}", request::left(), request::uploaded(), request::downloaded()),
            format!("{:?} {:?}", request::query_param("a"), request::query_param("b")),
            format!("{:?} {:?}", request::path_param("a"), request::header("x-a")),
            format!("{:?} {:?}", request::credential(), request::attribute("a")),
            format!("{} {}", request::client_address(), request::socket_address()),
            format!("{:?}", swarm::current()),
            format!("{:?}", swarm::lookup(InfoHash::from_bytes([1; 20]))),
        ];
        response::set_retry_in(Some(5));
        response::warn("soon");
        response::set_interval(response::interval() + 1);
        response::set_min_interval(response::min_interval() + 1);
        response::set_num_want(3);
        response::set_attribute("b", "c");
        response::add_peer("192.0.2.9:81".parse().unwrap(), response::Place::Mixed);
        let scope = response::Scope::CLIENT | response::Scope::ROLE;
        response::remember(scope, std::time::Duration::from_secs(60));
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
    let stats = Stats { seeders: 1, leechers: 2, completed: 3 };
    let request = Request {
        address: "2001:db8::1".parse().unwrap(),
        client_address: Some("192.0.2.7".parse().unwrap()),
        proxy: Some("10.0.0.1:80".parse().unwrap()),
        event: Event::Completed,
        transport: Transport::Https,
        left: 0,
        uploaded: 1,
        downloaded: 2,
        query: pairs("a", "1"),
        path: pairs("a", "2"),
        headers: pairs("X-A", "3"),
        credential: Some("4".into()),
        attributes: pairs("a", "5"),
        swarms: vec![(InfoHash::from_bytes([0xaa; 20]), stats)],
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
            "0 1 2",
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
        retry_in: Some(Some(5)),
        warning: Some("soon".into()),
        interval: 1801,
        min_interval: 901,
        num_want: 3,
        hidden: false,
        attributes: vec![("a".into(), "5".into()), ("b".into(), "c".into())],
        added: vec![("192.0.2.9:81".parse().unwrap(), Place::Mixed)],
        locality: None,
        remember: Some((Scope::CLIENT | Scope::ROLE, 60)),
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
    assert_eq!(response::interval(), 0);
    log::error!("lost");
}
