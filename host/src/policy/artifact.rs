//! Compiled components, kept in the state folder: compiling takes a large one seconds.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::plugin::hex;
use crate::state_dir::{Miss, Sealed, StateDir, UNFINISHED};

/// The sub-folder of the state folder.
const FOLDER: &str = "components";
/// What artifacts are called.
const SUFFIX: &str = ".cwasm";
/// Bytes of an artifact.
const MAX_SIZE: u64 = 1 << 30;
/// Artifacts that are kept, of all engines together.
const KEPT: usize = 64;
/// How long one is kept that nobody uses, and a file that somebody did not finish.
const UNUSED: Duration = Duration::from_hours(30 * 24);
const ABANDONED: Duration = Duration::from_hours(1);

/// The artifacts in a folder. Several processes may use it at once: a file appears under its name
/// only when it is whole.
pub struct Artifacts {
    folder: StateDir,
    /// Whether files may be written and removed.
    writes: bool,
}

impl Artifacts {
    /// The artifacts of a state folder. Makes their folder where it is missing.
    pub fn open(state: &StateDir) -> io::Result<Self> {
        Ok(Self { folder: state.folder(FOLDER)?, writes: true })
    }

    /// The same, to be read only; `None` where there is no such folder.
    pub fn look(state: &StateDir) -> io::Result<Option<Self>> {
        let folder = state.existing_folder(FOLDER)?;
        Ok(folder.map(|folder| Self { folder, writes: false }))
    }

    /// Compiles a component whose SHA-256 is `digest`, or takes what was compiled before.
    pub fn component(
        &self,
        engine: &Engine,
        wasm: &[u8],
        digest: &[u8; 32],
    ) -> wasmtime::Result<Component> {
        let name = name(engine, digest);
        match self.open_kept(&name) {
            Ok(artifact) => match deserialize(engine, &artifact) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(name, "a compiled component is of no use: {error:#}"),
            },
            Err(Miss::Absent) => {}
            Err(Miss::Unfit(reason)) => {
                tracing::warn!(name, reason, "a compiled component is of no use");
            }
        }
        let component = Component::from_binary(engine, wasm)?;
        if self.writes {
            let written = self.folder.write_sealed(&name, &component.serialize()?);
            let written = written.and_then(|()| self.tidy());
            if let Err(error) = written {
                tracing::warn!(name, %error, "a compiled component cannot be kept");
            }
        }
        Ok(component)
    }

    fn open_kept(&self, name: &str) -> Result<Sealed, Miss> {
        let artifact = self.folder.open_sealed(name, MAX_SIZE)?;
        if self.writes {
            // So that it counts as used. If that fails it goes a little earlier.
            let _ = artifact.set_modified(SystemTime::now());
        }
        Ok(artifact)
    }

    /// Removes what nobody has used for long, and the longest unused where there are too many.
    fn tidy(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut kept = Vec::new();
        for file in fs::read_dir(self.folder.path())? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            // Another process may have been faster.
            let Ok(used) = file.metadata().and_then(|found| found.modified()) else { continue };
            let age = now.duration_since(used).unwrap_or_default();
            if name.ends_with(SUFFIX) && age < UNUSED {
                kept.push((used, file.path()));
            } else if name.ends_with(SUFFIX) || (name.ends_with(UNFINISHED) && age >= ABANDONED) {
                remove(&file.path())?;
            }
        }
        kept.sort_by(|a, b| b.cmp(a));
        kept.iter().skip(KEPT).try_for_each(|(_, path)| remove(path))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the artifact of a component is called: by the component's digest, and by all of the engine
/// that goes into the code.
fn name(engine: &Engine, digest: &[u8; 32]) -> String {
    struct Sum(Sha256);
    impl Hasher for Sum {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            // Nobody asks: the whole sum is taken below.
            self.0.clone().finalize()[0].into()
        }
    }
    let mut sum = Sum(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sum);
    let engine = sum.0.finalize();
    format!("{}-{}{SUFFIX}", hex(digest), hex(&engine[..8]))
}

#[allow(unsafe_code, reason = "code that was compiled before cannot be taken up without")]
fn deserialize(engine: &Engine, artifact: &Sealed) -> wasmtime::Result<Component> {
    // SAFETY: the file must hold what `Component::serialize` gave, now and while it is mapped. A
    // `Sealed` is only made of an open file that belongs to this user and that no other user can
    // write to, and whose content has the digest that `write_sealed` put behind what `serialize`
    // gave; its path leads to that very file. Nobody writes to it later: `write_sealed` puts a new
    // file in its place, and what is removed stays while it is mapped. So neither damage nor anybody
    // but this user (who could change this program as well) can have other bytes run. wasmtime
    // itself refuses an artifact of another version of itself or of other settings, and looks at
    // no byte behind the sections of it.
    unsafe { Component::deserialize_file(engine, artifact.path()) }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    /// A component with nothing in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn folder() -> (TempDir, Artifacts) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(folder.path())).unwrap();
        let artifacts = Artifacts::open(&state).unwrap();
        (folder, artifacts)
    }

    impl Artifacts {
        fn names(&self) -> Vec<String> {
            let files = fs::read_dir(self.folder.path()).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(folder.path())).unwrap();
        assert!(Artifacts::look(&state).unwrap().is_none());
        Artifacts::open(&state).unwrap();
        let path = folder.path().join(FOLDER);
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        assert!(Artifacts::open(&state).is_err());
        assert!(Artifacts::look(&state).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        assert!(Artifacts::look(&state).unwrap().is_some());
    }

    #[test]
    fn what_is_old_or_too_much_goes() {
        let (_folder, artifacts) = folder();
        let aged = |name: &str, age: Duration| {
            artifacts.folder.write_sealed(name, b"").unwrap();
            let file = File::open(artifacts.folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        for n in 0..KEPT + 5 {
            aged(&format!("{n:03}.cwasm"), Duration::from_secs(n as u64 * 60));
        }
        aged("old.cwasm", UNUSED);
        aged("half.new", ABANDONED);
        aged("under-way.new", Duration::ZERO);
        // Used again.
        let longest_unused = format!("{:03}.cwasm", KEPT + 4);
        artifacts.open_kept(&longest_unused).unwrap();
        artifacts.tidy().unwrap();
        let mut expected: Vec<String> = (0..KEPT - 1).map(|n| format!("{n:03}.cwasm")).collect();
        expected.extend([longest_unused, "under-way.new".to_owned()]);
        assert_eq!(artifacts.names(), expected);
    }

    #[test]
    fn a_component_is_compiled_once_and_again_where_the_file_is_no_good() {
        let (folder, artifacts) = folder();
        let engine = Engine::default();
        let digest = Sha256::digest(EMPTY).into();
        artifacts.component(&engine, EMPTY, &digest).unwrap();
        let [file] = &artifacts.names()[..] else { panic!("{:?}", artifacts.names()) };
        let path = artifacts.folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        // Something else under the digest shows which of the two was taken.
        let nothing = b"no component";
        artifacts.component(&engine, nothing, &digest).expect("from the file");
        for wrong in [&whole[..whole.len() - 1], &whole[1..], b""] {
            fs::write(&path, wrong).unwrap();
            assert!(artifacts.component(&engine, nothing, &digest).is_err());
            artifacts.component(&engine, EMPTY, &digest).expect("compiled again");
            assert_eq!(fs::read(&path).unwrap().len(), whole.len(), "and replaced");
        }
        // A whole file of something that wasmtime does not take.
        artifacts.folder.write_sealed(file, b"foreign").unwrap();
        artifacts.component(&engine, EMPTY, &digest).expect("compiled again");
        assert_eq!(fs::read(&path).unwrap().len(), whole.len());

        let state = StateDir::open(Some(folder.path())).unwrap();
        let reader = Artifacts::look(&state).unwrap().unwrap();
        reader.component(&engine, nothing, &digest).expect("from the file");
        fs::remove_file(&path).unwrap();
        reader.component(&engine, EMPTY, &digest).expect("compiled");
        assert_eq!(reader.names(), [""; 0], "and not written");
    }

    #[test]
    fn many_at_once_get_whole_artifacts() {
        let (_folder, artifacts) = folder();
        let engine = Engine::default();
        let digest = Sha256::digest(EMPTY).into();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        artifacts.component(&engine, EMPTY, &digest).unwrap();
                        artifacts.folder.write_sealed("shared.cwasm", &[7; 100_000]).unwrap();
                        let shared = artifacts.folder.read_sealed("shared.cwasm", MAX_SIZE);
                        assert_eq!(shared.unwrap(), [7; 100_000]);
                    }
                });
            }
        });
        assert_eq!(artifacts.names().len(), 2, "{:?}", artifacts.names());
    }

    #[test]
    fn another_engine_has_files_of_its_own() {
        let mut other = wasmtime::Config::new();
        other.epoch_interruption(true);
        let other = Engine::new(&other).unwrap();
        let engine = Engine::default();
        assert_ne!(name(&engine, &[0; 32]), name(&other, &[0; 32]));
        assert_eq!(name(&engine, &[0; 32]), name(&Engine::default(), &[0; 32]));
        assert_ne!(name(&engine, &[0; 32]), name(&engine, &[1; 32]));
    }
}
