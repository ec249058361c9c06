//! Compiled components in the state folder. Compiling a large component takes seconds.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::state_dir::{Miss, StateDir, UNFINISHED};

/// The sub-folder of the state folder.
const FOLDER: &str = "components";
/// The suffix of an artifact's file name.
const SUFFIX: &str = ".cwasm";
/// The maximum size of an artifact, in bytes. A large component's artifact has about 40 million.
const MAX_SIZE: u64 = 256 << 20;
/// The maximum number of artifacts, over all engines.
const KEPT: usize = 64;
/// How long an unused artifact is kept.
const UNUSED: Duration = Duration::from_hours(30 * 24);
/// How long an unfinished file is kept.
const ABANDONED: Duration = Duration::from_hours(1);

/// A compiled component.
pub struct Artifact(Vec<u8>);

impl Artifact {
    /// Compiles a component in this process.
    pub fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self> {
        engine.precompile_component(wasm).map(Self)
    }

    /// Wraps the output of [`Self::compile`] in a child of this program.
    pub fn of_child(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Creates the component from a copy of the bytes.
    #[allow(unsafe_code, reason = "code compiled earlier cannot be loaded without it")]
    pub fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: The bytes must come from `Engine::precompile_component`, and they are copied, so
        // nothing can change them later. An `Artifact` is made of such bytes only: by this process,
        // by a child of the same program, or from a file that belongs to this user, that no other
        // user can write to, and whose content matches the digest that `write_sealed` appended. So
        // neither damage nor any other user can run other bytes; this user could change this
        // program as well. wasmtime itself rejects artifacts of another version or of other
        // settings.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}

/// The artifacts in a folder. Several processes may use it at once: a file gets its name only when
/// it is complete.
pub struct Artifacts {
    folder: StateDir,
    /// Whether files may be written and removed.
    writes: bool,
}

impl Artifacts {
    /// Opens the artifacts of a state folder; creates their folder if it is missing.
    pub fn open(state: &StateDir) -> io::Result<Self> {
        Ok(Self { folder: state.folder(FOLDER)?, writes: true })
    }

    /// Opens them for reading only. Returns `None` if there is no such folder.
    pub fn look(state: &StateDir) -> io::Result<Option<Self>> {
        let folder = state.existing_folder(FOLDER)?;
        Ok(folder.map(|folder| Self { folder, writes: false }))
    }

    /// Returns the kept component whose SHA-256 is `digest`, if there is a usable one.
    pub fn kept(&self, engine: &Engine, digest: &[u8; 32]) -> Option<Component> {
        let name = name(engine, digest);
        let unfit = match self.folder.read_sealed(&name, MAX_SIZE) {
            Ok(bytes) => match Artifact(bytes).load(engine) {
                Ok(component) => {
                    if self.writes {
                        // Marks it as used. If that fails, it is removed a little earlier.
                        let _ = self.folder.touch(&name);
                    }
                    return Some(component);
                }
                Err(error) => format!("{error:#}"),
            },
            Err(Miss::Absent) => return None,
            Err(Miss::Unfit(reason)) => reason,
        };
        tracing::warn!(name, reason = unfit, "cached component is unusable; recompiling");
        None
    }

    /// Keeps a compiled component, unless the folder is only read.
    pub fn keep(&self, engine: &Engine, digest: &[u8; 32], artifact: &Artifact) -> io::Result<()> {
        if !self.writes {
            return Ok(());
        }
        self.folder.write_sealed(&name(engine, digest), artifact.bytes())?;
        self.tidy()
    }

    /// Removes artifacts that have not been used for long, and the longest unused if there are too
    /// many.
    fn tidy(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut kept = Vec::new();
        for file in fs::read_dir(self.folder.path())? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            // Another process may have removed it already.
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

/// Returns the file name of a component's artifact, made of the component's digest and of
/// everything in the engine that affects the code.
fn name(engine: &Engine, digest: &[u8; 32]) -> String {
    struct Sum(Sha256);
    impl Hasher for Sum {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            // Not used: the whole digest is taken below.
            self.0.clone().finalize()[0].into()
        }
    }
    let mut sum = Sum(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sum);
    let engine = sum.0.finalize();
    format!("{}-{}{SUFFIX}", hex::encode(digest), hex::encode(&engine[..8]))
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    /// An empty component.
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
    fn old_and_surplus_artifacts_are_removed() {
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
        artifacts.folder.touch(&longest_unused).unwrap();
        artifacts.tidy().unwrap();
        let mut expected: Vec<String> = (0..KEPT - 1).map(|n| format!("{n:03}.cwasm")).collect();
        expected.extend([longest_unused, "under-way.new".to_owned()]);
        assert_eq!(artifacts.names(), expected);
    }

    #[test]
    fn kept_artifacts_are_used_and_damaged_ones_are_replaced() {
        let (folder, artifacts) = folder();
        let engine = Engine::default();
        let digest = Sha256::digest(EMPTY).into();
        let artifact = Artifact::compile(&engine, EMPTY).unwrap();
        let taken = |artifacts: &Artifacts| artifacts.kept(&engine, &digest).is_some();
        assert!(!taken(&artifacts));
        artifacts.keep(&engine, &digest, &artifact).unwrap();
        assert!(taken(&artifacts));
        let [file] = &artifacts.names()[..] else { panic!("{:?}", artifacts.names()) };
        let path = artifacts.folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        for wrong in [&whole[..whole.len() - 1], &whole[1..], b""] {
            fs::write(&path, wrong).unwrap();
            assert!(!taken(&artifacts));
            artifacts.keep(&engine, &digest, &artifact).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole, "replaced");
            assert!(taken(&artifacts));
        }
        // A complete file of something that wasmtime does not accept.
        artifacts.folder.write_sealed(file, b"foreign").unwrap();
        assert!(!taken(&artifacts));
        artifacts.keep(&engine, &digest, &artifact).unwrap();

        let state = StateDir::open(Some(folder.path())).unwrap();
        let reader = Artifacts::look(&state).unwrap().unwrap();
        assert!(taken(&reader));
        fs::remove_file(&path).unwrap();
        reader.keep(&engine, &digest, &artifact).unwrap();
        assert_eq!(reader.names(), [""; 0], "it writes nothing");
    }

    #[test]
    fn changes_of_the_file_do_not_change_the_component() {
        let (_folder, artifacts) = folder();
        let engine = Engine::default();
        let wasm = wat::parse_str(
            r#"(component
                (core module $m (func (export "f") (result i32) (i32.const 7)))
                (core instance $i (instantiate $m))
                (func (export "f") (result u32) (canon lift (core func $i "f"))))"#,
        )
        .unwrap();
        let digest = Sha256::digest(&wasm).into();
        artifacts.keep(&engine, &digest, &Artifact::compile(&engine, &wasm).unwrap()).unwrap();
        let component = artifacts.kept(&engine, &digest).unwrap();
        let path = artifacts.folder.path().join(&artifacts.names()[0]);
        // Overwrites the file in place, as a failing disk or a misbehaving program would.
        let length = fs::metadata(&path).unwrap().len();
        fs::write(&path, vec![0xcc; length as usize]).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        let mut store = wasmtime::Store::new(&engine, ());
        let linker = wasmtime::component::Linker::new(&engine);
        let instance = linker.instantiate(&mut store, &component).unwrap();
        let seven = instance.get_typed_func::<(), (u32,)>(&mut store, "f").unwrap();
        assert_eq!(seven.call(&mut store, ()).unwrap(), (7,));
    }

    #[test]
    fn concurrent_readers_get_whole_artifacts() {
        let (_folder, artifacts) = folder();
        let engine = Engine::default();
        let digest = Sha256::digest(EMPTY).into();
        let artifact = Artifact::compile(&engine, EMPTY).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        artifacts.keep(&engine, &digest, &artifact).unwrap();
                        assert!(artifacts.kept(&engine, &digest).is_some());
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
