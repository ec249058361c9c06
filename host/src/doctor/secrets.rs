//! The files of secrets and keys: whether others can read them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::file;
use crate::finding::Finding;

const SUBJECT: &str = "secrets";

/// Examines the files of a configuration that was read from `file`.
pub fn examine(config: &Config, file: &Path) -> Vec<Finding> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let udp = config.udp.iter().filter_map(|udp| udp.connection_id_secret.as_ref());
    let data = config.policies.iter().flat_map(|policy| policy.data.values());
    let tokens = config.admin.tokens.iter().map(|token| &token.token);
    let secrets = udp
        .chain(&config.admin.token)
        .chain(tokens)
        .chain(config.admin.torrust.iter().map(|door| &door.token))
        .chain(config.admin.gazelle.iter().map(|door| &door.password))
        .chain(config.admin.gazelle.iter().flat_map(|door| &door.report_password))
        .chain(config.admin.unit3d.iter().map(|door| &door.key))
        .chain(config.swarms.share.iter().flat_map(|share| &share.password))
        .chain(data.flat_map(|data| data.headers.values()));
    let mut files: Vec<_> = secrets.filter_map(|secret| secret.file(folder)).collect();
    let tls = config.http.iter().map(|http| &http.tls).chain([&config.admin.tls]).flatten();
    files.extend(tls.flat_map(|tls| &tls.certificates).map(|files| files.key.clone()));
    let share = config.swarms.share.iter().flat_map(|share| &share.tls);
    files.extend(share.flat_map(|tls| tls.key.clone()));
    files.sort();
    files.dedup();
    files.iter().map(judge).collect()
}

fn judge(path: &PathBuf) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o007 != 0 => Finding::wrong(
            SUBJECT,
            format!("{shown} is open to every user of this machine"),
            format!("`chmod o= {shown}`, and replace the secret if others may have read it"),
        ),
        Ok(_) => match file::open(path) {
            Ok(_) => Finding::ok(SUBJECT, format!("{shown} is open to its owner and group only")),
            Err(error) => Finding::look(
                SUBJECT,
                error.to_string(),
                "run this as the user that the tracker runs as; that user must be able to",
            ),
        },
        Err(error) => Finding::wrong(
            SUBJECT,
            format!("cannot find {shown}: {error}"),
            "create it, or correct the configuration",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn a_secret_is_for_few() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert_eq!(judge(&file).level, Level::Wrong);
        fs::write(&file, "secret").unwrap();
        for (mode, level) in
            [(0o600, Level::Ok), (0o640, Level::Ok), (0o644, Level::Wrong), (0o602, Level::Wrong)]
        {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(judge(&file).level, level, "{mode:o}");
        }
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(judge(&pipe).level, Level::Look, "nobody waits for its other end");
    }
}
