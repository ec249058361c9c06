//! The last minutes as series, and what happens as a stream.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, LISTENERS, eventually, exchange, folder, get, write_config};
use serde_json::Value;

/// A stream of events. HTTP/1.0 has no chunks.
struct Events(BufReader<TcpStream>);

/// One event: its name, its id and its data.
type Event = (String, Option<u64>, Value);

impl Events {
    /// Opens a stream, and returns it with the status line.
    fn open(daemon: SocketAddr, headers: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(daemon).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!("GET /api/events HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
        }
        (Self(stream), head)
    }

    fn of(daemon: &Daemon) -> Self {
        let (events, head) = Self::open(daemon.admin, "");
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        events
    }

    /// Reads the next event; `None`: the stream has ended.
    fn next(&mut self) -> Option<Event> {
        let (mut name, mut id, mut data) = (String::new(), None, None);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("id", value)) => id = value.parse().ok(),
                Some(("data", value)) => data = serde_json::from_str(value).ok(),
                _ => {}
            }
            if line.is_empty() && data.is_some() {
                return Some((name, id, data?));
            }
        }
    }

    fn sample(&mut self) -> (u64, Value) {
        loop {
            let (name, id, data) = self.next().expect("a sample");
            if name == "sample" {
                return (id.expect("an id"), data);
            }
        }
    }

    fn change(&mut self, kind: &str) -> String {
        loop {
            let (name, _, data) = self.next().expect("a change");
            if name == "change" && data["kind"] == kind {
                return data["text"].as_str().unwrap().to_owned();
            }
        }
    }
}

fn series(daemon: &Daemon, query: &str) -> Value {
    serde_json::from_str(&daemon.admin_page(&format!("/api/series{query}"))).unwrap()
}

#[test]
fn requests_and_policies_have_series() {
    let daemon = Daemon::start(
        "policies: [{ name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: [-XL] } }]",
    );
    let some = |name: &str| {
        let all = series(&daemon, "");
        let values = all["series"][name].as_array().cloned().unwrap_or_default();
        values.iter().any(|value| value.as_f64() > Some(0.0))
    };
    eventually("requests are seen", || {
        Announce::of('a').http(daemon.http).unwrap();
        Announce::of('a').client("-XL0012-").http(daemon.http).unwrap_err();
        ["requests.http.ok", "requests.http.rejected", "policies.clients.refused", "latency.p99"]
            .into_iter()
            .all(some)
    });
    let all = series(&daemon, "?span=10m");
    let times = all["times"].as_array().unwrap();
    for (name, values) in all["series"].as_object().unwrap() {
        assert_eq!(values.as_array().unwrap().len(), times.len(), "{name}");
    }
    assert_eq!(all["step_seconds"], 1);
    for name in ["swarms", "peers.ipv4.leechers", "memory_bytes", "busy", "connections"] {
        assert!(all["series"][name].is_array(), "{name}");
    }
    let few = series(&daemon, "?span=6h&names=swarms,nothing");
    assert_eq!(few["step_seconds"], 10);
    assert_eq!(few["series"].as_object().unwrap().keys().collect::<Vec<_>>(), ["swarms"]);
    for wrong in ["?span=1h", "?spam=6h", "?span="] {
        assert_eq!(get(daemon.admin, &format!("/api/series{wrong}"), &[]).status, 400, "{wrong}");
    }
}

#[test]
fn what_is_not_obeyed_has_series_of_its_own() {
    let yaml = |mode: &str| {
        format!(
            "{LISTENERS}policies:
  - {{ name: clients, plugin: PLUGINS/client-approval.wasm, mode: {mode}, config: {{ deny: [-XL] }} }}
  - name: spread
    plugin: PLUGINS/interval-variation.wasm
    mode: shadow
    config: {{ probability: 1.0, max_increase: 10m }}
"
        )
    };
    let daemon = Daemon::start_in(folder(&yaml("shadow")));
    let some = |name: &str| {
        let all = series(&daemon, "");
        let values = all["series"][name].as_array().cloned().unwrap_or_default();
        values.iter().any(|value| value.as_f64() > Some(0.0))
    };
    let refused = Announce::of('a').client("-XL0012-");
    eventually("it would be refused, or changed", || {
        refused.http(daemon.http).expect("nobody obeys");
        some("policies.clients.would_refuse") && some("policies.spread.would_change")
    });
    assert!(!some("policies.clients.refused"));
    write_config(daemon.folder.path(), &yaml("enforce"));
    daemon.signal("HUP");
    eventually("it is refused", || {
        refused.http(daemon.http).is_err() && some("policies.clients.refused")
    });
}

#[test]
fn a_stream_tells_each_second_and_what_was_missed() {
    let daemon = Daemon::start("");
    let mut events = Events::of(&daemon);
    let (first, data) = events.sample();
    assert_eq!(data["time"], first);
    assert!(data["values"]["swarms"].is_number(), "{data}");
    let (second, _) = events.sample();
    assert!(second > first);
    drop(events);
    let (mut again, _) = Events::open(daemon.admin, &format!("Last-Event-ID: {first}\r\n"));
    assert_eq!(again.sample().0, second, "it was missed");
    assert!(again.sample().0 > second);
    let (mut other, _) = Events::open(daemon.admin, "Last-Event-ID: nonsense\r\n");
    assert!(other.sample().0 > second);
}

#[test]
fn changes_are_told_and_marked() {
    let daemon = Daemon::start("");
    let mut events = Events::of(&daemon);
    events.sample();
    let yaml = "tracker: { announce_interval: 5m, min_announce_interval: 1m }\n";
    write_config(daemon.folder.path(), &format!("{LISTENERS}{yaml}"));
    assert_eq!(events.change("health"), "look: config.yaml has changed and is not in use");
    daemon.signal("HUP");
    assert_eq!(events.change("reload"), "generation 2: settings changed");
    assert_eq!(events.change("health"), "serving");
    let marks = series(&daemon, "")["marks"].clone();
    let kinds: Vec<_> = marks.as_array().unwrap().iter().map(|mark| &mark["kind"]).collect();
    assert_eq!(kinds, ["health", "reload", "health"]);
}

#[test]
fn streams_leave_half_of_the_connections_for_others() {
    let daemon = Daemon::start("");
    let mut streams: Vec<_> = (0..32).map(|_| Events::of(&daemon)).collect();
    let one_more = get(daemon.admin, "/api/events", &[]);
    assert_eq!((one_more.status, &*one_more.body_text()), (503, "too many streams of events\n"));
    assert_eq!(get(daemon.admin, "/healthz", &[]).status, 200);
    drop(streams.pop());
    eventually("there is room again", || {
        let (_, head) = Events::open(daemon.admin, "");
        head.starts_with("HTTP/1.0 200 ")
    });
    streams[0].sample();
}

#[test]
fn a_stream_needs_the_right_to_read() {
    let folder = karuta_tests::folder(
        "http: [{ listen: '127.0.0.1:0' }]
admin:
  listen: '127.0.0.1:0'
  tokens: [{ name: asker, token: { file: token }, may: [explain] }]
",
    );
    std::fs::write(folder.path().join("token"), "the token of the asker\n").unwrap();
    let daemon = Daemon::start_in(folder);
    for path in ["/api/events", "/api/series", "/api/reloads", "/api/config", "/api/log"] {
        let ask = |header: &str| {
            let request = format!("GET {path} HTTP/1.0\r\n{header}\r\n");
            exchange(daemon.admin, request.as_bytes()).status
        };
        assert_eq!(ask(""), 401, "{path}");
        assert_eq!(ask("Authorization: Bearer the token of the asker\r\n"), 403, "{path}");
    }
}
