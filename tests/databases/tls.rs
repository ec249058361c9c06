//! A connection to the database that is encrypted, and whose server is verified.

use std::fs;
use std::path::Path;

use karuta_tests::databases::Database;
use karuta_tests::tls::Authority;
use karuta_tests::{Daemon, eventually};

use crate::site::{ACCOUNTS, Setting, Site, announce, tracker, with_each};

/// Starts a database whose certificate is for names, and writes the authority that has issued it into a file.
fn database(setting: &Setting, names: &[&str], folder: &Path) -> Database {
    let authority = Authority::new();
    let database = Database::start_with_tls(setting.kind(), &authority.issue(names));
    setting.tables.make(&database);
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    database
}

/// Starts a tracker that trusts the authority in a file.
fn start(setting: &Setting, database: Database, authority: &Path) -> Site {
    let accounts = ACCOUNTS.replace("SCHEMA", setting.tables.name());
    let folder = tracker(&database, database.port, &accounts);
    fs::write(folder.path().join("database"), database.verified_url(authority)).unwrap();
    Site { tables: setting.tables, database, daemon: Daemon::start_in(folder) }
}

/// Waits until the tracker says why it does not use the database.
fn refuses(site: &Site, why: &str) {
    let error = || site.status()["database"]["error"].as_str().unwrap_or_default().to_owned();
    eventually(why, || error().contains(why));
    assert_eq!(site.status()["database"]["loaded"], false, "nothing was read");
}

#[test]
fn a_database_with_a_certificate_of_an_own_authority_is_used() {
    with_each(|setting| {
        let folder = tempfile::tempdir().unwrap();
        let database = database(setting, &["127.0.0.1"], folder.path());
        let site = start(setting, database, &folder.path().join("ca.pem"));
        site.is_loaded();
        announce(1, 1, 1, 0).event("started").http(site.daemon.http).unwrap();
        announce(1, 1, 1, 100).event("stopped").http(site.daemon.http).unwrap();
        site.all_in();
        assert_eq!(site.credit(1), (100, 200));
        // Without TLS, nobody is let in at all, and the tracker says so.
        let plain = match setting.is_mysql() {
            true => "?ssl-mode=DISABLED",
            false => "?sslmode=disable",
        };
        let Site { tables, database, daemon } = site;
        let state = daemon.stop();
        let url = format!("{}{plain}", database.url(database.port));
        fs::write(state.path().join("database"), url).unwrap();
        let site = Site { tables, database, daemon: Daemon::start_in(state) };
        let why = if setting.is_mysql() { "Access denied" } else { "no encryption" };
        let error = || site.status()["database"]["error"].as_str().unwrap_or_default().to_owned();
        eventually(why, || error().contains(why));
    });
}

#[test]
fn a_database_that_another_authority_has_certified_is_refused() {
    with_each(|setting| {
        let folder = tempfile::tempdir().unwrap();
        let database = database(setting, &["127.0.0.1"], folder.path());
        let other = folder.path().join("other.pem");
        fs::write(&other, Authority::named("Another").pem()).unwrap();
        refuses(&start(setting, database, &other), "invalid peer certificate: UnknownIssuer");
    });
}

#[test]
fn a_database_with_the_certificate_of_another_host_is_refused() {
    with_each(|setting| {
        let folder = tempfile::tempdir().unwrap();
        let database = database(setting, &["db.example"], folder.path());
        let site = start(setting, database, &folder.path().join("ca.pem"));
        refuses(&site, "certificate not valid for name");
    });
}
