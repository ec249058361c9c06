//! Lists that policies read from the database.

use karuta_tests::eventually;
use serde_json::{Value, json};

use crate::site::{Setting, Site, announce, database, with_each};

const LISTS: &str = "policies:
- name: clients
  plugin: PLUGINS/client-approval.wasm
  config: { allow_from: listed }
  data: { listed: { query: SELECT prefix FROM clients, every: 1s, format: strings, required: true } }
- name: addresses
  plugin: PLUGINS/address-approval.wasm
  config: { deny_from: denied }
  data: { denied: { query: \"SELECT '192.0.2.0/24', 7\", every: 1s, format: addresses } }
";

fn start(setting: &Setting) -> Site {
    let database = database(setting);
    let to = if setting.is_mysql() { "karuta@localhost" } else { "karuta" };
    database.sql(&format!(
        "CREATE TABLE clients (prefix varchar(20)); GRANT SELECT, INSERT ON clients TO {to}; \
         INSERT INTO clients VALUES ('-TR'), (NULL)"
    ));
    let port = database.port;
    Site::start_with(setting, database, port, |accounts| accounts.replace("policies:\n", LISTS))
}

/// Returns why a client is refused.
fn refusal(site: &Site, client: &str) -> Option<String> {
    announce(1, 1, 1, 0).client(client).http(site.daemon.http).err()
}

#[test]
fn a_list_is_that_of_the_database_and_stays_when_the_database_is_away() {
    with_each(|setting| {
        let mut site = start(setting);
        assert_eq!(refusal(&site, "-TR"), None);
        assert_eq!(refusal(&site, "-KA").as_deref(), Some("unapproved client"));
        site.database.sql("INSERT INTO clients VALUES ('-KA')");
        eventually("it is listed", || refusal(&site, "-KA").is_none());
        let lists: Value = serde_json::from_str(&site.daemon.admin_page("/api/lists")).unwrap();
        let of = |name: &str| {
            let lists = lists.as_array().unwrap().iter();
            lists.clone().find(|list| list["data"] == name).cloned().unwrap()
        };
        assert_eq!(
            (&of("denied")["entries"], &of("denied")["origin"]),
            (&json!(1), &json!("query"))
        );
        // What is no list is refused as a whole.
        site.database.sql("INSERT INTO clients VALUES ('a\nb')");
        site.daemon.logs("a value with a line break");
        assert_eq!(refusal(&site, "-KA"), None);
        site.database.sql("DELETE FROM clients WHERE prefix <> '-TR'");
        eventually("it is no longer listed", || refusal(&site, "-KA").is_some());
        site.database.stop();
        let site = Site { daemon: site.daemon.restart(), ..site };
        assert_eq!(refusal(&site, "-TR"), None, "as it was read last");
        assert!(!site.daemon.log().contains("karuta:karuta@"), "the URL is never logged");
    });
}

#[test]
fn a_query_changes_nothing() {
    with_each(|setting| {
        let database = database(setting);
        let to = if setting.is_mysql() { "karuta@localhost" } else { "karuta" };
        database.sql(&format!("GRANT DELETE ON karuta_member TO {to}"));
        let change = "SELECT 1; DELETE FROM karuta_member";
        let port = database.port;
        let policies = LISTS.replace("SELECT prefix FROM clients", &format!("\"{change}\""));
        let policies = policies.replace(", required: true", "");
        let site = Site::start_with(setting, database, port, |accounts| {
            accounts.replace("policies:\n", &policies)
        });
        site.daemon.logs("cannot fetch data source");
        assert_eq!(site.database.number("SELECT COUNT(*) FROM karuta_member"), 4);
    });
}
