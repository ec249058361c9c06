//! Compiled components, which the daemon keeps in its state folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, LISTENERS, folder, run};

const POLICY: &str = "policies: [{ name: tally, plugin: PLUGINS/test-tally.wasm }]\n";

#[test]
fn compiled_components_are_kept_and_damaged_ones_are_replaced() {
    let folder = folder(&format!("{LISTENERS}{POLICY}"));
    let components = folder.path().join("state/components");
    assert!(run(&["check"], folder.path()).status.success());
    assert!(!folder.path().join("state").exists(), "a check writes nothing");

    let private = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    // A folder that already has a state is not given the compiled components of other tests.
    let cold = self::folder(&format!("{LISTENERS}{POLICY}"));
    fs::create_dir(cold.path().join("state")).unwrap();
    private(&cold.path().join("state"));
    let mut daemon = Daemon::start_in(cold);
    let kept = daemon.folder.path().join("state/components");
    let files: Vec<_> = fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let whole = fs::read(file).unwrap();

    // A daemon in another folder finds a damaged copy of the file.
    daemon.signal("TERM");
    daemon.wait();
    fs::create_dir_all(&components).unwrap();
    let there = components.join(file.file_name().unwrap());
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&there, &damaged).unwrap();
    private(components.parent().unwrap());
    private(&components);
    let check = run(&["check"], folder.path());
    assert!(check.status.success(), "{check:?}");
    assert_eq!(fs::read(&there).unwrap(), damaged, "a check writes nothing");
    let again = Daemon::start_in(folder);
    again.logs("it is damaged");
    assert_eq!(fs::read(&there).unwrap().len(), whole.len());
    assert_ne!(fs::read(&there).unwrap(), damaged);
    let answer = Announce::of('a').dictionary(again.http);
    assert_eq!(answer.text("warning message").as_deref(), Some("1"));
}

#[test]
fn warm_compiles_for_the_next_start_and_needs_no_secrets() {
    let folder = folder(&format!(
        "{LISTENERS}policies:
  - name: tally
    plugin: PLUGINS/test-tally.wasm
    data: {{ list: {{ url: 'http://127.0.0.1:9/', format: raw, headers: {{ key: {{ credential: key }} }} }} }}
"
    ));
    let warm = || {
        let output = run(&["warm"], folder.path());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(warm(), (Some(0), "tally: compiled\n".to_owned()));
    assert_eq!(warm(), (Some(0), "tally: compiled already\n".to_owned()));
    let components = folder.path().join("state/components");
    assert_eq!(fs::read_dir(&components).unwrap().count(), 1);
    assert_eq!(run(&["check"], folder.path()).status.code(), Some(78), "it needs the secret");

    fs::set_permissions(&components, Permissions::from_mode(0o777)).unwrap();
    assert_eq!(warm().0, Some(1), "nobody would use what is there");
}
