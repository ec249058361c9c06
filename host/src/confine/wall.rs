//! Landlock: the kernel lets this process write only below some folders.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    path_beneath_rules,
};

/// What every daemon writes to: what its children have as input, and their priority when memory runs
/// out.
pub const WRITABLE: [&str; 2] = ["/dev/null", "/proc"];

/// Whether the kernel holds the process back, and from what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wall {
    /// It may write only below these.
    Up(Vec<PathBuf>),
    /// The configuration does not want one.
    Off,
    /// Why the kernel has none.
    Missing(String),
}

/// Why Landlock lacks what is needed; the kernel does not say which of them it is.
const ABSENT: &str =
    "the kernel is older than 5.19 or has no Landlock, or a filter of system calls hides it";

impl Wall {
    /// Forbids this thread, and those that it will start, to change anything but what is below some
    /// folders and files. Reading stays as it is. There is no way back.
    ///
    /// A kernel before 5.19 is left alone: there, Landlock would forbid to move files from folder to
    /// folder. One before 6.2 lets files be truncated.
    pub fn raise(writable: Vec<PathBuf>) -> Self {
        match raise(&writable) {
            Ok(()) => Self::Up(writable),
            Err(RulesetError::HandleAccesses(_)) => Self::Missing(ABSENT.to_owned()),
            Err(error) => Self::Missing(error.to_string()),
        }
    }

    /// Returns whether a folder may be written to, as far as this is concerned.
    pub fn permits(&self, folder: &Path) -> bool {
        match self {
            Self::Up(writable) => writable.iter().any(|above| folder.starts_with(above)),
            Self::Off | Self::Missing(_) => true,
        }
    }

    /// Returns a word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Up(_) => "on",
            Self::Off => "off",
            Self::Missing(_) => "unavailable",
        }
    }
}

fn raise(writable: &[PathBuf]) -> Result<(), RulesetError> {
    let needed = AccessFs::from_write(ABI::V2);
    let all = AccessFs::from_write(ABI::V3);
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(needed)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .create()?;
    ruleset.add_rules(path_beneath_rules(writable, all))?.restrict_self().map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::thread;

    use super::*;

    /// In a thread of its own, which alone is held back.
    #[test]
    fn only_what_is_below_the_folders_can_be_changed() {
        let [inside, outside] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (one, other) = (inside.path().to_owned(), outside.path().to_owned());
        fs::write(other.join("old"), "old").unwrap();
        let tried = thread::spawn(move || {
            let wall = Wall::raise(vec![one.clone()]);
            if let Wall::Missing(reason) = &wall {
                eprintln!("skipped: {reason}");
                return;
            }
            assert!(wall.permits(&one.join("a")) && !wall.permits(&other));
            fs::create_dir_all(one.join("a/b")).unwrap();
            fs::write(one.join("a/b/new"), "new").unwrap();
            fs::rename(one.join("a/b/new"), one.join("new")).unwrap();
            fs::hard_link(one.join("new"), one.join("a/same")).unwrap();
            fs::write(one.join("new"), "newer").unwrap();
            fs::remove_dir_all(one.join("a")).unwrap();

            assert_eq!(fs::read_to_string(other.join("old")).unwrap(), "old");
            let refused = [
                fs::write(other.join("new"), ""),
                fs::OpenOptions::new().append(true).open(other.join("old")).map(drop),
                fs::remove_file(other.join("old")),
                fs::create_dir(other.join("folder")),
                fs::rename(other.join("old"), one.join("old")),
                fs::rename(one.join("new"), other.join("new")),
            ];
            for (at, done) in refused.into_iter().enumerate() {
                let kind = done.expect_err("it is outside").kind();
                let right = [ErrorKind::PermissionDenied, ErrorKind::CrossesDevices];
                assert!(right.contains(&kind), "{at}: {kind}");
            }
        });
        tried.join().unwrap();
        fs::write(outside.path().join("new"), "").unwrap();
    }
}
