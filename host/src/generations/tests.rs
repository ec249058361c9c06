//! Generations in a folder, whole, damaged and half written.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::*;

const NOW: u64 = 1_000_000_000;

struct Place {
    state: StateDir,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&folder.path().join("state"))).unwrap();
        Self { state, folder }
    }

    fn open(&self) -> Generations {
        Generations::open(&self.state).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    /// Writes a plugin, and returns its digest and its file.
    fn plugin(&self, bytes: &str) -> (String, PathBuf) {
        let file = self.folder.path().join("plugin.wasm");
        fs::write(&file, bytes).unwrap();
        (hex::encode(Sha256::digest(bytes)), file)
    }

    /// Keeps a generation with a plugin.
    fn keep(
        &self,
        generations: &Generations,
        number: u64,
        text: &str,
        plugin: &str,
    ) -> io::Result<()> {
        let (digest, file) = self.plugin(plugin);
        let content = Content {
            sha256: hex::encode(Sha256::digest(text)),
            plugins: [("jwt".to_owned(), digest.clone())].into(),
        };
        let served = Served {
            format: FORMAT,
            generation: number,
            time: NOW + number,
            by: "SIGHUP".into(),
            action: Action::Reload,
            again: None,
            changes: String::new(),
            content,
            policies: Vec::new(),
            karuta: "1".into(),
        };
        generations.keep(&served, text, &[(digest, file)], NOW + number)
    }
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_kept_comes_back_for_this_user_alone() {
    let place = Place::new();
    let generations = place.open();
    assert_eq!((generations.all().len(), generations.last()), (0, 0));
    place.keep(&generations, 1, "landlock: true", "one").unwrap();
    place.keep(&generations, 2, "landlock: false", "two").unwrap();
    place.keep(&generations, 3, "landlock: false", "one").unwrap();
    fs::write(place.folder.path().join("plugin.wasm"), "another").unwrap();
    for (number, text, plugin) in
        [(1, "landlock: true", "one"), (2, "landlock: false", "two"), (3, "landlock: false", "one")]
    {
        let (served, found) = generations.find(number).unwrap();
        assert_eq!((served.generation, &*found), (number, text));
        let file = generations.plugin(&served.content.plugins["jwt"]).unwrap();
        assert_eq!(fs::read(&file).unwrap(), plugin.as_bytes());
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    }
    assert_eq!(files(&place.path("store/sha256")).len(), 2, "each plugin once");
    for folder in ["generations", "generations/1", "store", "store/sha256"] {
        assert_eq!(fs::metadata(place.path(folder)).unwrap().mode() & 0o777, 0o700, "{folder}");
    }
    for file in files(&place.path("generations/1")) {
        let file = place.path("generations/1").join(file);
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    }
    assert_eq!(generations.find(9).unwrap_err(), "generation 9 is not kept; kept are 1, 2, 3");
}

#[test]
fn a_newer_text_of_the_same_generation_takes_its_place() {
    let place = Place::new();
    let generations = place.open();
    place.keep(&generations, 1, "landlock: true", "one").unwrap();
    place.keep(&generations, 1, "landlock: true # really", "one").unwrap();
    assert_eq!(generations.find(1).unwrap().1, "landlock: true # really");
    assert_eq!(files(&place.path("generations/1")).len(), 2);
}

#[test]
fn only_one_process_writes() {
    let place = Place::new();
    let first = place.open();
    let said = Generations::open(&place.state).err().unwrap();
    assert!(said.ends_with("generations: in use by another tracker"), "{said}");
    place.keep(&first, 1, "a: 1", "one").unwrap();
    let reader = Generations::look(&place.state).unwrap().unwrap();
    assert!(first.can_keep() && !reader.can_keep());
    assert_eq!(reader.all(), first.all());
    drop(first);
    place.open();
}

#[test]
fn surplus_ones_go_with_their_plugins_but_not_the_pinned_one() {
    let place = Place::new();
    let generations = place.open();
    for number in 1..=25 {
        place.keep(&generations, number, "a: 1", &format!("plugin {number}")).unwrap();
        if number == 3 {
            let pin = Pin {
                format: FORMAT,
                generation: 2,
                rejected: Content::default(),
                on_disk: Content::default(),
                since: NOW,
                by: "uid 0".into(),
            };
            generations.set_pin(&pin).unwrap();
            assert_eq!(generations.pin(), Some(pin));
        }
    }
    let kept: Vec<_> = generations.all().iter().map(|kept| kept.generation).collect();
    assert_eq!(kept, [&[2][..], &Vec::from_iter(6..=25)].concat());
    assert_eq!(files(&place.path("store/sha256")).len(), 21);
    generations.unpin().unwrap();
    generations.unpin().unwrap();
    assert_eq!(generations.pin(), None);
    place.keep(&generations, 26, "a: 1", "plugin 26").unwrap();
    assert!(generations.find(2).is_err());
}

#[test]
fn what_was_not_finished_is_nothing_and_goes() {
    let place = Place::new();
    let generations = place.open();
    place.keep(&generations, 1, "a: 1", "one").unwrap();
    // As if it had ended before the last step of each file.
    let half = place.path("generations/2");
    fs::create_dir(&half).unwrap();
    fs::set_permissions(&half, Permissions::from_mode(0o700)).unwrap();
    fs::write(half.join("config-000000000000.yaml"), "b: 2").unwrap();
    fs::write(half.join("meta.json.x.new"), "{").unwrap();
    fs::write(place.path("store/sha256/00.x.new"), "half").unwrap();
    assert_eq!((generations.all().len(), generations.last()), (1, 1));
    place.keep(&generations, 3, "a: 3", "three").unwrap();
    assert!(!half.exists());
    assert_eq!(files(&place.path("store/sha256")).len(), 2);
}

#[test]
fn what_is_damaged_is_said_and_nothing_is_lost_for_it() {
    let place = Place::new();
    let generations = place.open();
    for number in 1..=3 {
        place.keep(&generations, number, &format!("a: {number}"), &number.to_string()).unwrap();
    }
    let meta = place.path("generations/1/meta.json");
    let whole = fs::read_to_string(&meta).unwrap();
    for (wrong, said) in [
        (whole[..whole.len() / 2].to_owned(), "damaged: EOF"),
        (whole.replace("\"format\": 1", "\"format\": 2"), "format 2, expected 1"),
        (whole.replace("\"generation\": 1", "\"generation\": 7"), "it is of 7"),
        (whole.replace("\"sha256\": \"", "\"sha256\": \"../../"), "damaged: a digest is none"),
    ] {
        fs::write(&meta, wrong).unwrap();
        let reason = generations.find(1).unwrap_err();
        assert!(reason.starts_with("generation 1 cannot be used: meta.json: "), "{reason}");
        assert!(reason.contains(said), "{reason}");
        assert_eq!(generations.all().len(), 3, "it is listed");
    }
    place.keep(&generations, 4, "a: 4", "4").unwrap();
    assert_eq!(files(&place.path("store/sha256")).len(), 4, "what it needs is not known");
    fs::write(&meta, &whole).unwrap();
    let text = files(&place.path("generations/1")).remove(0);
    fs::write(place.path("generations/1").join(&text), "a: 2").unwrap();
    let reason = generations.find(1).unwrap_err();
    assert_eq!(reason, format!("generation 1 cannot be used: {text} is damaged"));
    fs::remove_file(place.path("generations/1").join(&text)).unwrap();
    let reason = generations.find(1).unwrap_err();
    assert_eq!(reason, format!("generation 1 cannot be used: {text}: it is gone"));
}

#[test]
fn a_plugin_that_has_changed_is_not_kept_under_its_old_name() {
    let place = Place::new();
    let generations = place.open();
    place.keep(&generations, 1, "a: 1", "one").unwrap();
    let (digest, file) = place.plugin("two");
    let store = Store::open(&place.state).unwrap();
    let said = store.keep(&"0".repeat(64), &file).unwrap_err().to_string();
    assert!(said.ends_with("plugin.wasm has changed since it was loaded"), "{said}");
    store.keep(&digest, &file).unwrap();
    let kept = generations.plugin(&digest).unwrap();
    fs::write(&kept, "twO").unwrap();
    store.keep(&digest, &file).unwrap();
    assert_eq!(fs::read(kept).unwrap(), b"two", "what was damaged is replaced");
    assert!(generations.plugin(&"0".repeat(64)).is_err());
}
