//! A list without a file, which several policies have.

use std::path::Path;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, eventually, run, write_config};

const POLICIES: &str = "
policies:
  - name: one
    plugin: PLUGINS/client-approval.wasm
    config: { deny_from: bad }
    data: { bad: { site: bad-clients, format: strings } }
  - name: two
    plugin: PLUGINS/client-approval.wasm
    config: { deny_from: worse }
    data: { worse: { site: bad-clients, format: strings } }
";

fn list(daemon: &Daemon, arguments: &[&str], folder: &Path) -> (bool, String) {
    let admin = daemon.admin.to_string();
    // What comes after `--` is an entry.
    let (verb, rest) = arguments.split_at(1);
    let output = run(&[&["list"], verb, &["--admin", &admin], rest].concat(), folder);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn is_refused(daemon: &Daemon) -> bool {
    Announce::of('a').client("-XL").http(daemon.http).is_err()
}

#[test]
fn policies_that_name_it_have_one_list_which_outlives_them() {
    let daemon = Daemon::start(POLICIES);
    let edit = |daemon: &Daemon, arguments: &[&str]| {
        let (done, said) = list(daemon, arguments, daemon.folder.path());
        assert!(done, "{said}");
        said
    };
    assert!(!is_refused(&daemon));
    edit(&daemon, &["add", "one", "bad", "--", "-XL"]);
    eventually("it is refused", || is_refused(&daemon));
    assert_eq!(edit(&daemon, &["show", "two", "worse"]).trim(), "-XL");
    let daemon = daemon.restart();
    assert!(is_refused(&daemon));
    // The first policy goes, and the list stays.
    let rest = POLICIES.split_once("  - name: two").unwrap().1;
    write_config(
        daemon.folder.path(),
        &format!("{}policies:\n  - name: two{rest}", karuta_tests::LISTENERS),
    );
    let admin = daemon.admin.to_string();
    assert!(run(&["reload", "--admin", &admin], daemon.folder.path()).status.success());
    assert!(is_refused(&daemon));
    edit(&daemon, &["remove", "two", "worse", "--", "-XL"]);
    eventually("it is no longer refused", || !is_refused(&daemon));
    let (folded, said) = list(&daemon, &["fold", "two", "worse"], daemon.folder.path());
    assert!(!folded && said.contains("not one of a file"), "{said}");
}
