//! Real clients over HTTPS, with a certificate of an authority of our own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use karuta_tests::tls::Authority;
use karuta_tests::{Daemon, eventually, folder, root};

use super::client::{Client, Program, skip};
use super::torrent::{self, Torrent};
use super::{FILE, LOOPBACK, SIZE, announces, patiently, rules, seeders, url};

fn daemon(authority: &Authority, torrent: &Torrent) -> Daemon {
    let folder = folder(&format!(
        "http: [{{ listen: '127.0.0.1:0', tls: {{ certificate: a.pem, key: a.key }} }}]\n\
         admin: {{ listen: '127.0.0.1:0' }}\n{}",
        rules(torrent)
    ));
    authority.issue(&["127.0.0.1"]).write(folder.path(), "a");
    fs::write(folder.path().join("ca.pem"), authority.pem()).expect("the authority is written");
    Daemon::start_in(folder)
}

#[test]
fn a_file_goes_from_transmission_to_aria2_over_https() {
    let (seeder, leecher) = (Program::Transmission, Program::Aria2);
    if !seeder.is_there() || !leecher.is_there() {
        return;
    }
    let content = torrent::content(SIZE);
    let torrent = Torrent::new(FILE, &content);
    let daemon = daemon(&Authority::new(), &torrent);
    let authority = daemon.folder.path().join("ca.pem");
    let metainfo = torrent.metainfo(&url(&daemon, "https", LOOPBACK.tracker));
    let start = |program, address, file| {
        Client::start_trusting(Some(&authority), program, address, &metainfo, file, &[])
    };
    let seeder = start(seeder, LOOPBACK.seeder, Some((FILE, &content[..])));
    patiently("the seeder has announced itself", || seeders(&daemon) == 1.0);
    let leecher = start(leecher, LOOPBACK.leecher, None);
    let arrived = || fs::read(leecher.file(FILE)).is_ok_and(|bytes| bytes == content);
    patiently("the file arrives", arrived);
    patiently("the leecher is a seeder now", || seeders(&daemon) == 2.0);
    drop((seeder, leecher));
    assert!(announces(&daemon, "https", "ok") >= 3.0);
    assert_eq!(announces(&daemon, "http", "ok"), 0.0);
}

#[test]
fn clients_do_not_announce_to_a_tracker_that_they_do_not_trust() {
    let content = torrent::content(SIZE);
    let torrent = Torrent::new(FILE, &content);
    let daemon = daemon(&Authority::new(), &torrent);
    let metainfo = torrent.metainfo(&url(&daemon, "https", LOOPBACK.tracker));
    let other = daemon.folder.path().join("other.pem");
    fs::write(&other, Authority::new().pem()).expect("another authority is written");
    for (program, error) in [
        (Program::Aria2, "SSL/TLS handshake failure"),
        (Program::Transmission, "Could not connect to tracker"),
    ] {
        if !program.is_there() {
            continue;
        }
        let file = Some((FILE, &content[..]));
        let client =
            Client::start_trusting(Some(&other), program, LOOPBACK.seeder, &metainfo, file, &[]);
        patiently(error, || client.output().contains(error));
        drop(client);
    }
    assert_eq!(announces(&daemon, "https", "ok"), 0.0);
}

/// The commands in `docs/tls.md` are run unchanged, and must print what it shows.
#[test]
fn a_certificate_of_our_own_authority_is_made_as_the_page_says() {
    for program in ["openssl", "curl"] {
        if Command::new(program).arg("--version").output().is_err() {
            return skip(&format!("{program} is missing; `make test` installs it on Debian"));
        }
    }
    let page = fs::read_to_string(root().join("docs/tls.md")).expect("the page");
    let block = page.split("```console\n").nth(1).and_then(|rest| rest.split("```").next());
    let lines = || block.expect("a block of commands").lines();
    let commands: Vec<_> = lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let shown: Vec<_> = lines().filter(|line| !line.starts_with("$ ")).collect();
    let folder = folder(
        "http: [{ listen: '127.0.0.1:0', tls: { certificate: tracker.pem, key: tracker.key } }]\n\
         admin: { listen: '127.0.0.1:0' }\n",
    );
    assert_eq!(bash(&commands.join("\n"), folder.path()).lines().collect::<Vec<_>>(), shown);
    let daemon = Daemon::start_in(folder);
    let port = daemon.http.port();
    let host = "tracker.example.org";
    let curl = format!(
        "curl --silent --cacert ca.pem --resolve {host}:{port}:127.0.0.1 https://{host}:{port}/announce"
    );
    let answer = bash(&curl, daemon.folder.path());
    assert_eq!(answer, "d14:failure reason31:no info_hash parameter suppliede");
    let handshakes = "karuta_tls_handshakes_total{outcome=\"ok\"}";
    eventually("it is counted", || daemon.metric(handshakes) == 1.0);
}

/// Runs commands until one fails, and returns what they print.
fn bash(script: &str, folder: &Path) -> String {
    let mut bash = Command::new("bash");
    let output = bash.args(["-ec", script]).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
