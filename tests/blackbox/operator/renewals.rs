//! Certificates that are renewed while they serve.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use karuta_tests::announce::Announce;
use karuta_tests::tls::{Authority, Client};
use karuta_tests::{Daemon, eventually, folder, run};

use super::tls::{REFUSED, REFUSES, RENEWED, YAML, daemon};

#[test]
fn a_renewed_certificate_serves_new_connections_and_old_ones_live_on() {
    let authority = Authority::new();
    let old = authority.issue(&["localhost"]);
    let daemon = daemon(&old);
    let client = Client::new(&authority).forgetful();
    let mut connection = client.open(daemon.http, "localhost");
    let announce = Announce::of('a').query();
    let request = format!("GET /announce?{announce} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.send(request.as_bytes());
    assert_eq!(connection.answer().status, 200);

    let new = authority.issue(&["localhost"]);
    new.write(daemon.folder.path(), "a");
    eventually("the new certificate", || client.sees(daemon.http, "localhost") == new.der);
    connection.send(request.as_bytes());
    assert_eq!(connection.answer().status, 200);
    assert_eq!((daemon.metric(RENEWED), daemon.metric(REFUSED)), (1.0, 0.0));
    daemon.logs("renewed certificate");
}

#[test]
fn a_certificate_whose_key_is_replaced_first_is_waited_for() {
    let authority = Authority::new();
    let folder = folder(&format!("{YAML}log: {{ format: json, level: debug }}\n"));
    authority.issue(&["localhost"]).write(folder.path(), "a");
    let daemon = Daemon::start_in(folder);
    let client = Client::new(&authority).forgetful();
    let new = authority.issue(&["localhost"]);
    new.write_key(daemon.folder.path(), "a");
    daemon.logs("certificate and key do not belong together yet");
    new.write_certificate(daemon.folder.path(), "a");
    eventually("the new certificate", || client.sees(daemon.http, "localhost") == new.der);
    assert_eq!((daemon.metric(RENEWED), daemon.metric(REFUSED)), (1.0, 0.0));
    assert!(!daemon.log().contains(REFUSES), "{}", daemon.log());
}

/// certbot's `live` folder has links to files with a number.
#[test]
fn a_certificate_behind_a_link_is_renewed() {
    let authority = Authority::new();
    let folder = folder(YAML);
    let archive = folder.path().join("archive");
    fs::create_dir(&archive).unwrap();
    let link = |folder: &Path, to: &str| {
        for end in ["pem", "key"] {
            let new = folder.join("new");
            std::os::unix::fs::symlink(format!("archive/{to}.{end}"), &new).unwrap();
            fs::rename(&new, folder.join(format!("a.{end}"))).unwrap();
        }
    };
    authority.issue(&["localhost"]).write(&archive, "1");
    link(folder.path(), "1");
    let daemon = Daemon::start_in(folder);
    let new = authority.issue(&["localhost"]);
    new.write(&archive, "2");
    link(daemon.folder.path(), "2");
    let client = Client::new(&authority).forgetful();
    eventually("the new certificate", || client.sees(daemon.http, "localhost") == new.der);
}

#[test]
fn a_reload_renews_certificates_and_says_so() {
    let authority = Authority::new();
    let daemon = daemon(&authority.issue(&["localhost"]));
    let admin = daemon.admin.to_string();
    let reload = || {
        let output = run(&["reload", "--admin", &admin], daemon.folder.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(reload(), "generation 1: nothing has changed\n");
    let new = authority.issue(&["localhost"]);
    new.write(daemon.folder.path(), "a");
    assert_eq!(reload(), "generation 1: certificates a.pem\n");
    assert_eq!(Client::new(&authority).sees(daemon.http, "localhost"), new.der);
    assert_eq!(daemon.metric("karuta_reloads_total{outcome=\"applied\"}"), 1.0);
    assert_eq!(daemon.metric(RENEWED), 1.0);
}

/// Renews a certificate again and again, and handshakes all the time.
fn rotations(count: usize) {
    let authority = Authority::new();
    let daemon = daemon(&authority.issue(&["localhost"]));
    let client = Client::new(&authority).forgetful();
    let (done, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for port in 1..=2 {
            let (daemon, client, done, handshakes) = (&daemon, &client, &done, &handshakes);
            scope.spawn(move || {
                let query = Announce::of('a').port(port).query();
                let request = format!("GET /announce?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                let mut first = client.open(daemon.http, "localhost");
                while !done.load(SeqCst) {
                    let mut connection = client.open(daemon.http, "localhost");
                    for connection in [&mut connection, &mut first] {
                        connection.send(request.as_bytes());
                        assert_eq!(connection.answer().status, 200);
                    }
                    handshakes.fetch_add(1, SeqCst);
                }
            });
        }
        for at in 0..count {
            let new = authority.issue(&["localhost"]);
            // Tools differ in what they replace first.
            if at % 2 == 0 {
                new.write(daemon.folder.path(), "a");
            } else {
                new.write_certificate(daemon.folder.path(), "a");
                new.write_key(daemon.folder.path(), "a");
            }
            eventually("the new certificate", || client.sees(daemon.http, "localhost") == new.der);
        }
        done.store(true, SeqCst);
    });
    eprintln!("{count} renewals during {} handshakes", handshakes.load(SeqCst));
    for outcome in ["alert", "timeout", "evicted", "closed"] {
        let series = format!("karuta_tls_handshakes_total{{outcome=\"{outcome}\"}}");
        assert_eq!(daemon.metric(&series), 0.0, "{series}");
    }
    assert_eq!((daemon.metric(RENEWED), daemon.metric(REFUSED)), (count as f64, 0.0));
}

#[test]
fn no_handshake_fails_while_certificates_are_renewed() {
    rotations(3);
}

#[test]
#[ignore = "takes minutes"]
fn soak_a_hundred_renewals() {
    rotations(100);
}
