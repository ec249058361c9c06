//! Every configuration in the repository: those in the documentation are accepted, and the examples
//! start.

use std::fs;
use std::path::{Path, PathBuf};

use karuta_tests::server::Server;
use karuta_tests::tls::Authority;
use karuta_tests::{Daemon, folder, karuta, plugins, root};

const EXAMPLES: &str = "deploy/examples";

/// The password of a Gazelle, and the key of a UNIT3D.
const PASSWORD: &str = "0123456789abcdef0123456789abcdef";
/// The top-level keys of a configuration.
const KEYS: [&str; 15] = [
    "tracker",
    "http",
    "udp",
    "swarms",
    "accounts",
    "policies",
    "admin",
    "log",
    "record",
    "decision_log",
    "export",
    "stats",
    "state_dir",
    "run_as",
    "landlock",
];

/// Returns all files with this ending in a folder of the repository and its subfolders.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns whether all top-level keys of a text are those of a configuration.
fn is_configuration(yaml: &str) -> bool {
    let outermost = |line: &&str| line.starts_with(|c: char| !" #-]}\n".contains(c));
    let mut keys = yaml.lines().filter(outermost).map(|line| line.split(':').next().unwrap());
    keys.clone().next().is_some() && keys.all(|key| KEYS.contains(&key))
}

/// Returns the error of `karuta check` for a file, if there is one. The environment has the values
/// that examples take from it.
fn complaint(file: &Path) -> Option<String> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let mut check = karuta(&["check", "--config", name], file.parent().unwrap());
    check.env("KARUTA_ADMIN_TOKEN", "for a test").env("KARUTA_GAZELLE_PASSWORD", PASSWORD);
    check.env("KARUTA_UNIT3D_KEY", PASSWORD);
    let output = check.output().expect("karuta runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(said)
}

#[test]
fn every_configuration_of_the_repository_is_accepted_unchanged() {
    let mut checked = Vec::new();
    for file in files(&root(), ".yaml") {
        if is_configuration(&fs::read_to_string(&file).unwrap()) {
            // The components are in the target folder of the checkout, unless cargo uses another.
            if plugins() == root().join("target/plugins") {
                assert_eq!(complaint(&file), None, "{}", file.display());
            }
            checked.push(file.strip_prefix(root()).unwrap().to_owned());
        }
    }
    assert!(checked.contains(&"config.yaml".into()), "{checked:?}");
    for file in files(&root().join(EXAMPLES), ".yaml") {
        let file = file.strip_prefix(root()).unwrap().to_owned();
        assert!(checked.contains(&file), "{} has a key that is none", file.display());
    }
}

/// They start on free ports, with their lists beside them. Instead of fetching from elsewhere, they
/// fetch an empty set of keys from a server of the test.
#[test]
fn every_example_starts() {
    let examples = files(&root().join(EXAMPLES), ".yaml");
    assert!(examples.len() >= 7, "{examples:?}");
    let server = Server::with(r#"{"keys": []}"#);
    for example in examples {
        let name = example.display();
        let yaml = fs::read_to_string(&example).unwrap();
        let here = |line: &str| match line.split_once("url: \"https:") {
            Some((before, _)) => format!("{before}url: \"{}\"\n", server.url("/")),
            None => format!("{line}\n"),
        };
        let mut yaml = yaml.lines().map(here).collect::<String>();
        for (as_it_stands, in_a_test) in [
            ("../../target/plugins", "PLUGINS"),
            (":6969\"", ":0\""),
            (":6880\"", ":0\""),
            (":34001\"", ":0\""),
            (":34002\"", ":0\""),
            ("{ env: KARUTA_GAZELLE_PASSWORD }", "{ file: gazelle.password }"),
            ("{ env: KARUTA_UNIT3D_KEY }", "{ file: unit3d.key }"),
            // Nobody listens there.
            ("10.0.0.", "127.0.0."),
            (":6379", ":9"),
            ("share:\n", "share:\n    catch_up: 1s\n"),
        ] {
            yaml = yaml.replace(as_it_stands, in_a_test);
        }
        if !yaml.contains("\nadmin:") {
            yaml.push_str("admin: { listen: '127.0.0.1:0' }\n");
        }
        let folder = folder(&yaml);
        beside(folder.path());
        let daemon = Daemon::start_in(folder);
        let status = daemon.admin_page("/api/status");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let policies = status["policies"].as_array().unwrap();
        assert!(!policies.is_empty(), "{name}");
        for policy in policies {
            assert_eq!(policy["state"], "ready", "{name}: {policy}");
        }
    }
}

/// Copies the data of the examples into a folder, and writes the passwords that they need.
fn beside(folder: &Path) {
    fs::write(folder.join("gazelle.password"), PASSWORD).unwrap();
    fs::write(folder.join("gazelle.report"), PASSWORD.to_uppercase()).unwrap();
    fs::write(folder.join("unit3d.key"), PASSWORD).unwrap();
    for entry in fs::read_dir(root().join(EXAMPLES)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.extension().is_none_or(|extension| extension != "yaml") {
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// Writes a certificate into a folder, as certbot does.
fn certbot(folder: &Path, host: &str) {
    let issued = Authority::new().issue(&[host]);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("fullchain.pem"), issued.certificate).unwrap();
    fs::write(folder.join("privkey.pem"), issued.key).unwrap();
}

/// Returns the YAML blocks of a page, each with the number of its first line.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line.trim() == "```yaml" {
            let block = lines.by_ref().map(|(_, line)| line);
            let block: Vec<_> = block.take_while(|line| line.trim() != "```").collect();
            blocks.push((at + 2, block.join("\n") + "\n"));
        }
    }
    blocks
}

/// A block is a configuration if all its top-level keys are those of one. It gets a listener, and
/// the data of the examples.
#[test]
fn configurations_in_the_documentation_are_accepted() {
    let mut pages = files(&root().join("docs"), ".md");
    pages.push(root().join("README.md"));
    pages.push(root().join("CONTRIBUTING.md"));
    for page in ["docs/README.md", "docs/tour.md"] {
        assert!(pages.contains(&root().join(page)), "{page}");
    }
    let mut checked = 0;
    for page in pages {
        for (line, block) in blocks(&fs::read_to_string(&page).unwrap()) {
            if !is_configuration(&block) {
                continue;
            }
            let mut yaml = block
                .replace("target/plugins/", "PLUGINS/")
                .replace("/etc/letsencrypt/", "letsencrypt/")
                .replace("user: karuta", "user: daemon")
                .replace("/var/log/karuta/", "")
                .replace("/srv/www/", "");
            if !["http:", "udp:"].iter().any(|key| yaml.lines().any(|line| line.starts_with(key))) {
                yaml.push_str("http: [{}]\n");
            }
            let folder = folder(&yaml);
            beside(folder.path());
            for host in ["tracker.example.org", "tracker.example.net"] {
                certbot(&folder.path().join("letsencrypt/live").join(host), host);
            }
            let complaint = complaint(&folder.path().join("config.yaml")).unwrap_or_default();
            // Only a component that the reader builds may be missing.
            let theirs = complaint.contains(".plugin: no such file")
                && !complaint.contains(plugins().to_str().expect("a path of text"));
            assert!(complaint.is_empty() || theirs, "{}:{line}: {complaint}", page.display());
            checked += 1;
        }
    }
    assert!(checked >= 9, "{checked}");
}
