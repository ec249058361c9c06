//! A reload that takes itself back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Connection, Daemon, LISTENERS, eventually, write_config};
use serde_json::{Value, json};

use super::generations::{command, page, place, post, rewrite, serving, standing, version};

/// Starts a daemon with the interval 101, and tries 102.
pub fn on_trial(terms: &Value) -> Daemon {
    let daemon = Daemon::start_in(place(101));
    rewrite(&daemon, 102);
    let (status, report) = post(&daemon, "/api/reload", terms);
    assert_eq!((status, &report["generation"]), (200, &json!(2)), "{report}");
    assert_eq!(serving(&daemon), 102);
    daemon
}

/// Returns what has become of the last trial.
fn end(daemon: &Daemon) -> Value {
    page(daemon, "/api/reloads")[0].clone()
}

fn is_over(daemon: &Daemon) -> bool {
    page(daemon, "/api/status")["trial"].is_null()
}

#[test]
fn what_is_confirmed_stays() {
    let daemon = Daemon::start_in(place(101));
    rewrite(&daemon, 102);
    let (tried, confirmed) = thread::scope(|scope| {
        let trying = scope.spawn(|| command(&daemon, &["reload", "--try", "5m"]));
        eventually("it is on trial", || !is_over(&daemon));
        let trial = &page(&daemon, "/api/status")["trial"];
        assert_eq!((&trial["generation"], &trial["previous"]), (&json!(2), &json!(1)));
        assert_eq!(trial["until"].as_u64().unwrap() - trial["began"].as_u64().unwrap(), 300);
        assert_eq!(trial["guards"]["policies"][0]["name"], "told");
        assert_eq!(serving(&daemon), 102);
        let confirmed = command(&daemon, &["confirm"]);
        (trying.join().unwrap(), confirmed)
    });
    assert_eq!(confirmed, (0, "generation 2: confirmed".into()));
    let said = "generation 2: replaced told\n\
                on trial for 300 s: keep it with `karuta confirm`, take it back with `karuta rollback`\n\
                generation 2: confirmed by address 127.0.0.1";
    assert_eq!(tried, (0, said.into()));
    assert_eq!((serving(&daemon), standing(&daemon)), (102, (2, None)));
    assert_eq!(end(&daemon)["outcome"], "confirmed");
    assert_eq!(command(&daemon, &["confirm"]), (1, "karuta: no generation is on trial".into()));
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (102, (2, None)));
}

#[test]
fn what_nobody_confirms_is_taken_back_and_pinned() {
    let daemon = Daemon::start_in(place(101));
    rewrite(&daemon, 102);
    let (code, said) = command(&daemon, &["reload", "--try", "1s"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.ends_with("\ngeneration 2: taken back: nobody has confirmed it"), "{said}");
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
    let reasons = page(&daemon, "/api/status")["health"]["reasons"].to_string();
    assert!(reasons.contains("serving generation 1 again; config.yaml"), "{reasons}");
    assert!(
        reasons.contains("the last trial was taken back: nobody has confirmed it"),
        "{reasons}"
    );
    assert_eq!(daemon.metric("karuta_reloads_total{outcome=\"taken_back\"}"), 1.0);
    assert_eq!(command(&daemon, &["reload"]).0, 1, "it was turned down");
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
    assert_eq!(
        command(&daemon, &["reload", "--anyway"]),
        (0, "generation 4: replaced told".into())
    );
    assert_eq!((serving(&daemon), standing(&daemon)), (102, (4, None)));
}

#[test]
fn a_rollback_takes_a_trial_back_with_the_instances_that_it_had() {
    let daemon = Daemon::start_in(place(101));
    let inits = || {
        daemon.metric(
            "karuta_policy_calls_total{policy=\"told\",hook=\"init\",verdict=\"ok\",remembered=\"false\"}",
        )
    };
    let workers = page(&daemon, "/api/status")["policies"][0]["instances"].as_f64().unwrap();
    rewrite(&daemon, 102);
    assert_eq!(post(&daemon, "/api/reload", &json!({ "try": "5m" })).0, 200);
    assert_eq!(inits(), 2.0 * workers);
    let (code, said) = command(&daemon, &["rollback"]);
    assert_eq!(code, 0);
    assert!(
        said.starts_with("generation 3: serving generation 1 again; replaced told\n"),
        "{said}"
    );
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
    assert_eq!(inits(), 2.0 * workers, "none was made to come back");
    assert_eq!(page(&daemon, "/api/status")["policies"][0]["instances"].as_f64(), Some(workers));
    assert_eq!(
        (end(&daemon)["outcome"].clone(), end(&daemon)["by"].clone()),
        (json!("taken back"), json!("address 127.0.0.1"))
    );
}

#[test]
fn a_policy_that_begins_to_fail_is_taken_back_and_no_answer_is_lost() {
    let daemon = on_trial(&json!({ "try": "1h" }));
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..2 {
            let (over, answered, daemon) = (&over, &answered, &daemon);
            scope.spawn(move || {
                let client = Client::connect(daemon.udp);
                while !over.load(SeqCst) {
                    let reply = Announce::of('b').port(2000 + worker).udp(&client);
                    // While an instance is replaced, `on_error` decides.
                    assert!([101, 102, 1800].contains(&reply.unwrap().interval));
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        let mut connection = Connection::open(daemon.http);
        let mut ask = |bomb: &str| {
            let query = Announce::of('a').with(bomb).query();
            let request = format!("GET /announce?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection.send(request.as_bytes());
            let answer = connection.answer();
            assert!(answer.body_text().contains("8:interval"), "{}", answer.body_text());
        };
        (0..100).for_each(|_| ask("calm="));
        assert!(!is_over(&daemon), "it is well");
        eventually("it is taken back", || {
            (0..20).for_each(|_| ask("bomb="));
            is_over(&daemon)
        });
        over.store(true, SeqCst);
    });
    assert!(answered.load(SeqCst) > 0);
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
    let end = end(&daemon);
    assert_eq!(
        (&end["outcome"], &end["policy"], &end["by"]),
        (&json!("taken back"), &json!("told"), &json!("the trial"))
    );
    let reason = end["reason"].as_str().unwrap();
    assert!(reason.ends_with("calls have failed") || reason == "it has failed", "{reason}");
}

#[test]
fn a_share_of_refusals_that_moves_ends_a_trial() {
    let daemon = Daemon::start_in(place(101));
    let mut connection = Connection::open(daemon.http);
    let mut ask = |wall: &str| {
        let query = Announce::of('a').with(wall).query();
        connection
            .send(format!("GET /announce?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        connection.answer();
    };
    // What was before is known once it is in the history.
    let mut known = || {
        (0..50).for_each(|_| ask("calm="));
        let series = page(&daemon, "/api/series?span=10m&names=requests.http.ok");
        let values = series["series"]["requests.http.ok"].as_array().cloned().unwrap_or_default();
        values.iter().filter_map(Value::as_f64).sum::<f64>() >= 100.0
    };
    eventually("the history has a hundred requests", &mut known);
    rewrite(&daemon, 102);
    let terms = json!({ "try": "1h", "max_change": 20 });
    assert_eq!(post(&daemon, "/api/reload", &terms).0, 200);
    let mut connection = Connection::open(daemon.http);
    let mut ask = |wall: &str| {
        let query = Announce::of('a').with(wall).query();
        connection
            .send(format!("GET /announce?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        connection.answer();
    };
    (0..90).for_each(|_| ask("calm="));
    (0..10).for_each(|_| ask("wall="));
    eventually("the guards have seen them", || {
        page(&daemon, "/api/status")["trial"]["guards"]["requests"] == 100
    });
    let trial = &page(&daemon, "/api/status")["trial"];
    assert_eq!(trial["guards"]["refused_before"], 0.0);
    assert_eq!(trial["guards"]["refused"], 0.1);
    eventually("it is taken back", || {
        (0..50).for_each(|_| ask("wall="));
        is_over(&daemon)
    });
    let reason = end(&daemon)["reason"].as_str().unwrap().to_owned();
    assert!(reason.ends_with("20.0 % points are allowed"), "{reason}");
    assert_eq!(serving(&daemon), 101);
}

#[test]
fn nothing_else_is_reloaded_during_a_trial() {
    let daemon = on_trial(&json!({ "try": "1h" }));
    rewrite(&daemon, 103);
    let refused = "generation 2 is on trial; keep it with `karuta confirm`, or take it back with \
                   `karuta rollback`";
    for (path, body) in [
        ("/api/reload", json!({})),
        ("/api/reload", json!({ "anyway": true })),
        ("/api/reload", json!({ "try": "1s" })),
        ("/api/rollback", json!({ "to": 2 })),
    ] {
        let (status, refusal) = post(&daemon, path, &body);
        assert_eq!((status, &refusal["reason"]), (409, &json!(refused)), "{path} {body}");
    }
    daemon.signal("HUP");
    eventually("a signal is refused too", || end(&daemon)["by"] == "SIGHUP");
    assert_eq!(end(&daemon)["outcome"], "refused");
    // Who only looks may.
    assert_eq!(command(&daemon, &["reload", "--dry-run"]).0, 3);
    assert_eq!((serving(&daemon), is_over(&daemon)), (102, false));
    // To come back to what was before is another matter.
    assert_eq!(post(&daemon, "/api/rollback", &json!({ "to": 1 })).0, 200);
    assert_eq!((serving(&daemon), is_over(&daemon)), (101, true));
    // The file has changed since the trial.
    assert_eq!(command(&daemon, &["reload"]), (0, "generation 4: replaced told".into()));
    assert_eq!((serving(&daemon), standing(&daemon)), (103, (4, None)));
}

#[test]
fn what_cannot_be_tried_is_said() {
    let daemon = Daemon::start_in(place(101));
    let path = daemon.folder.path();
    let tried = |yaml: &str| {
        write_config(path, &format!("{LISTENERS}{}{yaml}", version(101)));
        let (code, said) = command(&daemon, &["reload", "--try", "5m"]);
        assert_eq!(code, 1, "{said}");
        said
    };
    let said = tried("# a comment\n");
    assert!(said.contains("there is nothing to try; reload it"), "{said}");
    let said = tried("tracker: { announce_interval: 35m }\nstate_dir: elsewhere\n");
    assert!(said.contains("`state_dir` is another one"), "{said}");
    let (code, said) = command(&daemon, &["reload", "--try", "soon"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("`try` is `soon`, expected a duration of 1s to 24h, such as 5m"),
        "{said}"
    );
    assert_eq!(command(&daemon, &["reload", "--max-change", "5%"]).0, 2);
    assert_eq!(command(&daemon, &["reload", "--try", "5m", "--dry-run"]).0, 2);
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (1, None)));
}

#[test]
fn killed_during_a_trial_it_serves_what_was_before() {
    let daemon = on_trial(&json!({ "try": "1h" }));
    let daemon = Daemon::start_in(daemon.kill());
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
    assert!(is_over(&daemon));
    let daemon = Daemon::start_in(daemon.kill());
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
}
