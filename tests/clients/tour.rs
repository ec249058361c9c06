//! The tour of `docs/tour.md`: its commands are run unchanged, and must print what it shows.

use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};

use karuta_tests::{Daemon, folder, root, target};

use super::client::skip;

/// The sections whose commands need only the tracker and `curl`: from one heading to another.
const FROM: &str = "\n## Announce\n";
const TO: &str = "\n## Transfer a file\n";

#[test]
fn the_tour_prints_what_it_shows() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("curl is missing; `make test` installs it on Debian");
    }
    let page = fs::read_to_string(root().join("docs/tour.md")).expect("the tour");
    let config = fs::read_to_string(root().join("config.yaml")).expect("the configuration");
    // As many workers as on the page, on any free ports.
    let config = config
        .replace("workers: 0 ", "workers: 2 ")
        .replace("\"[::]:6969\"", "\"[::]:0\"")
        .replace("\"127.0.0.1:6880\"", "\"127.0.0.1:0\"")
        .replace("target/plugins", "PLUGINS");
    let daemon = Daemon::start_in(folder(&config));
    let program = target().join("karuta");
    let here = |text: &str| {
        text.replace(":6969", &format!(":{}", daemon.http.port()))
            .replace("127.0.0.1:6880", &daemon.admin.to_string())
            .replace("karuta reload", &format!("karuta reload --admin {}", daemon.admin))
            .replace("karuta status", &format!("karuta status --admin {}", daemon.admin))
            .replace("target/debug/karuta", program.to_str().expect("a path of text"))
    };
    let (mut script, mut expected) = (String::new(), String::new());
    let part = page.split(FROM).nth(1).and_then(|part| part.split(TO).next());
    for block in part.expect("the two headings").split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => writeln!(script, "{}", here(command)),
                None => writeln!(expected, "{}", here(line)),
            }
            .expect("a text grows");
        }
    }
    let bash = Command::new("bash")
        .args(["-c", &script])
        .current_dir(daemon.folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let printed = String::from_utf8_lossy(&bash.stdout);
    let shown = |text: &str| text.lines().map(settled).collect::<Vec<_>>();
    assert_eq!(shown(&printed), shown(&expected), "{}", String::from_utf8_lossy(&bash.stderr));
}

/// Returns a line without what differs from run to run or with the kernel: times, sizes, digests, ports,
/// Landlock.
fn settled(line: &str) -> String {
    if line.starts_with("landlock ") {
        return "landlock STATE".to_owned();
    }
    let word = |word: &str| {
        let is_digest = word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let listens = word.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match word {
            _ if is_digest => "DIGEST".to_owned(),
            _ if listens => "ADDRESS".to_owned(),
            word => word.to_owned(),
        }
    };
    let words: Vec<_> = line.split_whitespace().map(word).collect();
    let varies = |at: usize| {
        let unit = words.get(at + 1).map(String::as_str);
        matches!(unit, Some("s" | "KiB")) && words[at].parse::<u64>().is_ok()
    };
    let shown = (0..words.len()).map(|at| if varies(at) { "N" } else { &words[at] });
    shown.collect::<Vec<_>>().join(" ")
}
