//! The answers to an ACME server that checks whether a host belongs to us (RFC 8555, 8.3).

use std::path::{Path, PathBuf};

use crate::file;

/// A folder into which an ACME client such as certbot writes answers.
pub struct Challenges {
    folder: PathBuf,
}

const PREFIX: &str = "/.well-known/acme-challenge/";
/// The maximum length of a token.
const TOKEN: usize = 128;
/// The maximum size of an answer, in bytes.
const ANSWER: u64 = 1024;

impl Challenges {
    /// Answers from `webroot/.well-known/acme-challenge`.
    pub fn new(webroot: &Path) -> Self {
        Self { folder: webroot.join(&PREFIX[1..]) }
    }

    /// Returns the answer at a path, if there is one. Reads the file, and no link to another.
    pub fn find(&self, path: &str) -> Option<Vec<u8>> {
        let token = path.strip_prefix(PREFIX)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if token.is_empty() || token.len() > TOKEN || !token.bytes().all(plain) {
            return None;
        }
        file::read_itself(&self.folder.join(token), ANSWER).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_small_files_with_the_name_of_a_token_are_found() {
        let webroot = tempfile::tempdir().unwrap();
        let folder = webroot.path().join(".well-known/acme-challenge");
        fs::create_dir_all(folder.join("folder")).unwrap();
        let longest = "x".repeat(TOKEN);
        let longer = "x".repeat(TOKEN + 1);
        for name in ["a-token_1", &longest, &longer, "token.txt"] {
            fs::write(folder.join(name), "answer").unwrap();
        }
        fs::write(webroot.path().join("secret"), "secret").unwrap();
        fs::write(folder.join("large"), [b'x'; ANSWER as usize + 1]).unwrap();
        symlink(webroot.path().join("secret"), folder.join("link")).unwrap();
        let challenges = Challenges::new(webroot.path());
        let find = |token: &str| challenges.find(&format!("{PREFIX}{token}"));
        for token in ["a-token_1", &longest] {
            assert_eq!(find(token).as_deref(), Some(&b"answer"[..]), "{token}");
        }
        for token in
            ["", "missing", "folder", "link", "large", &longer, "token.txt", "../../secret", "%61"]
        {
            assert_eq!(find(token), None, "{token}");
        }
        assert_eq!(challenges.find("/a-token_1"), None);
        assert_eq!(challenges.find("/.well-known/acme-challenge"), None);
    }
}
