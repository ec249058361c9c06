//! Nodes that the engine does not let in, or that do not fit to the others.

use std::fs;

use karuta_tests::announce::Announce;
use karuta_tests::engines::{Engine, Single};
use karuta_tests::nodes::{become_equal, node, start};
use karuta_tests::tls::Authority;
use karuta_tests::{Daemon, eventually, folder, run};

use crate::alone;

/// Starts a node that says in its log and its status why the engine is away, and serves.
fn is_away(yaml: &str, files: &[(&str, &str)], why: &str) {
    let folder = folder(&node(yaml));
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("the file is written");
    }
    let node = Daemon::start_in(folder);
    node.logs(why);
    eventually("the status says so", || node.admin_page("/api/status").contains(why));
    assert!(node.admin_page("/readyz").contains("degraded"));
    Announce::of('a').http(node.http).expect("it is let in");
}

#[test]
fn a_wrong_password_is_named() {
    for engine in Engine::all() {
        let _alone = alone();
        let single = Single::start(&engine, &["--requirepass", "right"]);
        let quick = "catch_up: 1s";
        is_away(&single.share(quick), &[], "NOAUTH");
        let wrong = single.share(&format!("{quick}\npassword: {{ file: secret }}"));
        is_away(&wrong, &[("secret", "wrong")], "WRONGPASS");
    }
}

/// What an access control list has to allow, as docs/cluster.md says.
const RULES: &str = "+xadd +xread +xinfo|stream +xrevrange +time +hset +hgetall +hdel +set +get \
                     +cluster|slots +ping";

#[test]
fn a_user_with_no_more_rights_than_needed_shares() {
    for engine in Engine::all() {
        let _alone = alone();
        let single = Single::start(&engine, &[]);
        let mut client = single.server.connect();
        client.does(&format!("ACL SETUSER karuta on >secret ~karuta:* resetchannels {RULES}"));
        client.does("ACL SETUSER default off");
        let yaml = single.share("user: karuta\npassword: { file: secret }");
        let start = || {
            let folder = folder(&node(&yaml));
            fs::write(folder.path().join("secret"), "secret").expect("the file is written");
            Daemon::start_in(folder)
        };
        let nodes = [start(), start()];
        Announce::of('a').http(nodes[0].http).expect("it is let in");
        let known = become_equal(&[&nodes[0], &nodes[1]]);
        assert_eq!(known.len(), 1);
        assert!(!nodes[0].log().contains("NOPERM"), "{}", nodes[0].log());
    }
}

#[test]
fn an_engine_is_known_by_its_certificate() {
    let Some(engine) = Engine::first() else { return };
    let _alone = alone();
    let authority = Authority::new();
    let single = Single::start_secured(&engine, &authority);
    let yaml = single.share("catch_up: 1s\ntls: { ca: ca.pem }");
    let wrong = Authority::named("somebody else").pem();
    is_away(&yaml, &[("ca.pem", &wrong)], "certificate");
    let start = || {
        let folder = folder(&node(&yaml));
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("the file is written");
        Daemon::start_in(folder)
    };
    let nodes = [start(), start()];
    Announce::of('a').http(nodes[0].http).expect("it is let in");
    assert_eq!(become_equal(&[&nodes[0], &nodes[1]]).len(), 1);
}

#[test]
fn a_node_with_another_number_of_parts_does_not_start() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &[]);
    let _nodes = start(1, &single.share("parts: 8"));
    let folder = folder(&node(&single.share("parts: 4")));
    let output = run(&["run"], folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("swarms.share.parts: the log has 8 parts"), "{said}");
}
