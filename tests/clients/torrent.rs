//! A torrent of one file or of several (BEP 3), private (BEP 27), so that only the tracker tells
//! clients about peers.

use std::fmt::Write;

use sha1::{Digest, Sha1};

/// The size of a piece, in bytes.
pub const PIECE: usize = 1 << 16;

#[derive(Clone)]
pub struct Torrent {
    /// The bencoded info dictionary.
    info: Vec<u8>,
}

impl Torrent {
    pub fn new(name: &str, content: &[u8]) -> Self {
        Self::with(&format!("6:lengthi{}e", content.len()), name, content)
    }

    /// Creates a torrent of files in a folder.
    pub fn of_folder(name: &str, files: &[(&str, &[u8])]) -> Self {
        let list: String = files
            .iter()
            .map(|(name, content)| {
                format!("d6:lengthi{}e4:pathl{}:{name}ee", content.len(), name.len())
            })
            .collect();
        let contents: Vec<_> = files.iter().map(|(_, content)| *content).collect();
        Self::with(&format!("5:filesl{list}e"), name, &contents.concat())
    }

    fn with(files: &str, name: &str, content: &[u8]) -> Self {
        let pieces: Vec<u8> = content.chunks(PIECE).flat_map(Sha1::digest).collect();
        let mut info = format!(
            "d{files}4:name{}:{name}12:piece lengthi{PIECE}e6:pieces{}:",
            name.len(),
            pieces.len()
        )
        .into_bytes();
        info.extend(pieces);
        info.extend(b"7:privatei1ee");
        Self { info }
    }

    /// Returns the content of the `.torrent` file for a tracker.
    pub fn metainfo(&self, announce: &str) -> Vec<u8> {
        let head = format!("d8:announce{}:{announce}4:info", announce.len());
        [head.as_bytes(), &self.info, b"e"].concat()
    }

    /// Returns the content of the `.torrent` file for several trackers, to be asked in turn (BEP 12).
    pub fn metainfo_of(&self, trackers: &[String]) -> Vec<u8> {
        [head(trackers).as_bytes(), b"4:info", &self.info, b"e"].concat()
    }

    pub fn info_hash(&self) -> [u8; 20] {
        Sha1::digest(&self.info).into()
    }

    /// Returns the info-hash, as 40 hex digits.
    pub fn hex(&self) -> String {
        self.info_hash().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
    }
}

/// Returns the beginning of a `.torrent` file for several trackers, up to its other keys (BEP 12).
pub fn head(trackers: &[String]) -> String {
    let text = |text: &str| format!("{}:{text}", text.len());
    let tiers: String = trackers.iter().map(|url| format!("l{}e", text(url))).collect();
    format!("d8:announce{}13:announce-listl{tiers}e", text(&trackers[0]))
}

/// Returns bytes that look random, always the same.
pub fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}
