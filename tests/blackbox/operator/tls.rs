//! Certificates: what is refused, what is warned of, which one serves.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use karuta_tests::announce::Announce;
use karuta_tests::tls::{Authority, Client, Issued, replace};
use karuta_tests::{Daemon, eventually, folder, run};

/// A listener with the certificate `a`.
pub(super) const YAML: &str = "\
http: [{ listen: '127.0.0.1:0', tls: { certificate: a.pem, key: a.key } }]
admin: { listen: '127.0.0.1:0' }
tracker: { workers: 2 }
";

pub(super) const RENEWED: &str = "karuta_tls_reloads_total{outcome=\"applied\"}";
pub(super) const REFUSED: &str = "karuta_tls_reloads_total{outcome=\"refused\"}";
pub(super) const REFUSES: &str = "cannot use new certificate; the old one keeps serving";

/// Starts a daemon whose certificate `a` is for `localhost`.
pub(super) fn daemon(issued: &Issued) -> Daemon {
    let folder = folder(YAML);
    issued.write(folder.path(), "a");
    Daemon::start_in(folder)
}

/// Writes the files of a certificate in a wrong way.
type Spoil = fn(&Path, &Issued);

/// Each with the key of the configuration and what is said about it. The files are those of a good
/// certificate at first.
const WRONG: &[(Spoil, &str, &str)] = &[
    (|folder, _| remove(folder, "a.pem"), "certificate", "no such file: `a.pem`"),
    (|folder, _| remove(folder, "a.key"), "key", "no such file: `a.key`"),
    (
        |folder, _| {
            remove(folder, "a.pem");
            fs::create_dir(folder.join("a.pem")).unwrap();
        },
        "certificate",
        "not a file: `a.pem`",
    ),
    (
        |folder, _| {
            remove(folder, "a.key");
            std::os::unix::fs::symlink("a.key", folder.join("a.key")).unwrap();
        },
        "key",
        "cannot read `a.key`: Too many levels of symbolic links (os error 40)",
    ),
    (
        |folder, _| replace(&folder.join("a.pem"), &[b'\n'; (1 << 20) + 1]),
        "certificate",
        "more than 1048576 bytes",
    ),
    (
        |folder, issued| replace(&folder.join("a.pem"), &issued.der),
        "certificate",
        "DER, expected PEM; convert it with `openssl x509 -inform der -in FILE -out FILE.pem`",
    ),
    (
        |folder, _| replace(&folder.join("a.key"), &[0x30, 0x82, 0x01, 0x00]),
        "key",
        "DER, expected PEM; convert it with `openssl pkey -inform der -in FILE -out FILE.pem`",
    ),
    (
        |folder, _| replace(&folder.join("a.pem"), b"nothing"),
        "certificate",
        "no certificate in it, expected PEM",
    ),
    (
        |folder, issued| replace(&folder.join("a.pem"), issued.key.as_bytes()),
        "certificate",
        "a private key, expected a certificate",
    ),
    (
        |folder, issued| {
            replace(&folder.join("a.pem"), issued.certificate.replace("\nMII", "\nM*I").as_bytes())
        },
        "certificate",
        "invalid PEM: base64 decode error: InvalidCharacter(42)",
    ),
    (
        |folder, issued| replace(&folder.join("a.key"), issued.certificate.as_bytes()),
        "key",
        "no private key in it, expected PEM",
    ),
    (
        |folder, issued| replace(&folder.join("a.key"), issued.key.repeat(2).as_bytes()),
        "key",
        "2 private keys, expected one",
    ),
    (
        |folder, issued| {
            let encrypted = issued.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
            replace(&folder.join("a.key"), encrypted.as_bytes());
        },
        "key",
        "encrypted, expected a plain key; convert it with `openssl pkey -in FILE -out FILE.pem`",
    ),
    (
        |folder, _| replace(&folder.join("a.pem"), include_bytes!("certificates/rsa-1024.pem")),
        "certificate",
        "an RSA key of 1024 bits, expected at least 2048",
    ),
    (
        |folder, _| replace(&folder.join("a.pem"), include_bytes!("certificates/sha-1.pem")),
        "certificate",
        "signed with SHA-1 or weaker, expected SHA-256 or stronger",
    ),
];

const MISMATCH: (&str, &str) = ("key", "does not belong to the certificate");

fn remove(folder: &Path, name: &str) {
    fs::remove_file(folder.join(name)).unwrap();
}

fn belongs_to_another(folder: &Path, _: &Issued) {
    Authority::new().issue(&["localhost"]).write_key(folder, "a");
}

#[test]
fn a_certificate_that_cannot_serve_is_refused_at_the_start() {
    let issued = Authority::new().issue(&["localhost"]);
    let mismatch: (Spoil, _, _) = (belongs_to_another, MISMATCH.0, MISMATCH.1);
    for (spoil, key, reason) in WRONG.iter().chain([&mismatch]) {
        let folder = folder(YAML);
        issued.write(folder.path(), "a");
        spoil(folder.path(), &issued);
        let column = if *key == "key" { 65 } else { 53 };
        let expected = format!("config.yaml:1:{column}: http[0].tls.{key}: {reason}\n");
        for command in ["check", "run"] {
            let output = run(&[command], folder.path());
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!((said, output.status.code()), (expected.clone(), Some(78)), "{command}");
        }
    }
}

#[test]
fn a_new_certificate_that_cannot_serve_is_refused_once_and_counted() {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let client = Client::new(&authority).forgetful();
    // A file that is gone is not a new one; a reload misses it.
    let changes = WRONG.iter().filter(|(_, _, reason)| !reason.starts_with("no such file"));
    std::thread::scope(|scope| {
        for (spoil, key, reason) in changes {
            let (issued, client) = (&issued, &client);
            scope.spawn(move || {
                let daemon = daemon(issued);
                spoil(daemon.folder.path(), issued);
                eventually(reason, || daemon.metric(REFUSED) == 1.0);
                daemon.logs(REFUSES);
                let log = daemon.log();
                let said: Vec<_> = log.lines().filter(|line| line.contains(REFUSES)).collect();
                assert!(
                    said[0].contains(reason) && said[0].contains(&format!("http[0].tls.{key}")),
                    "{said:?}"
                );
                assert_eq!(said.len(), 1, "{said:?}");
                assert_eq!(client.sees(daemon.http, "localhost"), issued.der);
            });
        }
    });
}

#[test]
fn a_reload_is_refused_if_a_certificate_cannot_serve() {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let daemon = daemon(&issued);
    let admin = daemon.admin.to_string();
    for (name, key) in [("a.key", "key"), ("a.pem", "certificate")] {
        remove(daemon.folder.path(), name);
        let output = run(&["reload", "--admin", &admin], daemon.folder.path());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("http[0].tls.{key}: no such file: `{name}`")), "{said}");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(Client::new(&authority).sees(daemon.http, "localhost"), issued.der);
    }
    assert_eq!(daemon.metric(REFUSED), 2.0);
    assert_eq!(daemon.metric("karuta_reloads_total{outcome=\"refused\"}"), 2.0);
}

#[test]
fn a_reload_waits_for_the_key_of_another_certificate_and_refuses_it() {
    let daemon = daemon(&Authority::new().issue(&["localhost"]));
    belongs_to_another(daemon.folder.path(), &Authority::new().issue(&["localhost"]));
    daemon.signal("HUP");
    // The reload and the watcher, each after 5 s.
    eventually("both say so", || daemon.log().matches(MISMATCH.1).count() == 2);
    assert_eq!(daemon.metric(REFUSED), 2.0);
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let authority = Authority::new();
    let folder = folder(
        "http: [{ listen: '127.0.0.1:0', tls: [
            { certificate: a.pem, key: a.key },
            { certificate: b.pem, key: b.key },
            { certificate: c.pem, key: c.key } ] }]
admin: { listen: '127.0.0.1:0' }\n",
    );
    let a = authority.issue(&["a.example", "127.0.0.1"]);
    let b = authority.issue(&["b.example", "B2.example"]);
    let c = authority.issue(&["*.c.example", "a.example"]);
    for (name, issued) in [("a", &a), ("b", &b), ("c", &c)] {
        issued.write(folder.path(), name);
    }
    let daemon = Daemon::start_in(folder);
    let client = Client::new(&authority).forgetful();
    for (host, expected) in [
        ("a.example", &a),
        ("b.example", &b),
        ("b2.example", &b),
        ("B.EXAMPLE", &b),
        ("x.c.example", &c),
        // Without a name.
        ("127.0.0.1", &a),
    ] {
        assert_eq!(client.sees(daemon.http, host), expected.der, "{host}");
    }
    for unknown in ["c.example", "x.y.c.example", "elsewhere.example"] {
        let error = client.connect(daemon.http, unknown).unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "the first one: {error}");
    }
    let new = authority.issue(&["*.c.example"]);
    new.write(daemon.folder.path(), "c");
    eventually("the new one", || client.sees(daemon.http, "x.c.example") == new.der);
    assert_eq!(client.sees(daemon.http, "b.example"), b.der);
}

#[test]
fn dates_and_the_order_are_warned_of() {
    let (authority, other) = (Authority::new(), Authority::named("Somebody else"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let good = authority.issue(&["localhost"]);
    let ended = authority
        .issue_with(&["localhost"], |one| one.not_after = rcgen::date_time_ymd(2001, 2, 3));
    let early = authority
        .issue_with(&["localhost"], |one| one.not_before = rcgen::date_time_ymd(2999, 2, 3));
    let ends = authority
        .issue_with(&["localhost"], |one| one.not_after = epoch + now + Duration::from_hours(24));
    let order = "the chain is out of order: certificate 1 was not issued by certificate 2";
    for (issued, more, expected) in [
        (&ended, String::new(), "expired at 2001-02-03T00:00:00Z"),
        (&early, String::new(), "not valid before 2999-02-03T00:00:00Z"),
        (&ends, String::new(), "ends within 14 days, at "),
        (&good, other.pem(), order),
    ] {
        let folder = folder(YAML);
        issued.write(folder.path(), "a");
        let chain = format!("{}{more}", issued.certificate);
        fs::write(folder.path().join("a.pem"), &chain).unwrap();
        let output = run(&["check"], folder.path());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "config.yaml: fine\n");
        let said = String::from_utf8(output.stderr).unwrap();
        let place = "config.yaml:1:53: http[0].tls.certificate: warning: ";
        assert!(said.starts_with(&format!("{place}{expected}")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");

        let daemon = Daemon::start_in(folder);
        daemon.logs(expected);
        let end = daemon.metric(
            "karuta_tls_certificate_not_after_timestamp_seconds{listener=\"127.0.0.1:0\",\
             certificate=\"a.pem\"}",
        );
        assert!(expected != "expired at 2001-02-03T00:00:00Z" || end == 981_158_400.0, "{end}");
        // An operator must not be locked out by a date.
        good.write(daemon.folder.path(), "a");
        let client = Client::new(&authority).forgetful();
        eventually("a good one", || {
            client.connect(daemon.http, "localhost").is_ok() && daemon.metric(RENEWED) == 1.0
        });
        issued.write(daemon.folder.path(), "a");
        fs::write(daemon.folder.path().join("a.pem"), &chain).unwrap();
        eventually("it is taken again", || daemon.metric(RENEWED) == 2.0);
        assert_eq!(daemon.metric(REFUSED), 0.0);
    }
    let folder = folder(YAML);
    good.write(folder.path(), "a");
    fs::write(folder.path().join("a.pem"), format!("{}{}", good.certificate, authority.pem()))
        .unwrap();
    assert_eq!(run(&["check"], folder.path()).stderr, b"");
}

#[test]
fn commands_find_the_admin_api_behind_tls() {
    let authority = Authority::new();
    let folder = folder(
        "http: [{ listen: '127.0.0.1:0' }]
admin: { listen: '127.0.0.1:0', tls: { certificate: a.pem, key: a.key } }\n",
    );
    authority.issue(&["localhost"]).write(folder.path(), "a");
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let daemon = Daemon::start_in(folder);
    let port = daemon.admin.port();
    let karuta = |arguments: &[&str]| {
        let output = run(arguments, daemon.folder.path());
        let [stdout, stderr] = [output.stdout, output.stderr];
        (output.status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    };
    let url = format!("https://localhost:{port}");
    let (code, said) = karuta(&["status", "--admin", &url, "--ca", "ca.pem"]);
    assert!(code == Some(0) && said.contains("\ngeneration 1, up "), "{said}");
    let done = (Some(0), "generation 1: nothing has changed\n".to_owned());
    // The daemon's own certificate is as good as its issuer's.
    assert_eq!(karuta(&["reload", "--admin", &url, "--ca", "a.pem"]), done);
    for (arguments, expected) in [
        (&["--admin", &*url][..], "invalid peer certificate: UnknownIssuer"),
        (
            &["--admin", &format!("https://127.0.0.1:{port}"), "--ca", "ca.pem"],
            "not valid for name",
        ),
        (&["--admin", &url, "--ca", "a.key"], "a.key: no certificate in it, expected PEM"),
        (&["--admin", &url, "--ca", "missing"], "missing: no such file: `missing`"),
        (&["--admin", &format!("127.0.0.1:{port}")], "400 Bad Request: this port speaks https"),
    ] {
        let (code, said) = karuta(&[&["status"][..], arguments].concat());
        assert!(code == Some(1) && said.contains(expected), "{arguments:?}: {said}");
    }
    // The configuration says where it is, and which certificate it has.
    let yaml = fs::read_to_string(daemon.folder.path().join("config.yaml")).unwrap();
    let yaml = yaml.replace(
        "admin: { listen: '127.0.0.1:0'",
        &format!("admin: {{ listen: '127.0.0.1:{port}'"),
    );
    fs::write(daemon.folder.path().join("config.yaml"), yaml).unwrap();
    let (code, said) = karuta(&["reload"]);
    assert_eq!(
        (code, &*said),
        (Some(0), "generation 1: nothing has changed\nwaiting for a restart: admin.listen\n")
    );
    let query = Announce::of('a').query();
    let (code, said) = karuta(&["explain", &format!("http://a/announce?{query}")]);
    assert!(code == Some(0) && said.contains(" over http from 127.0.0.1"), "{said}");
}
