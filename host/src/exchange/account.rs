//! The member and the torrent of a request, as the books know them.

use karuta_accounts::{Known, Member, Terms, Torrent};

/// Empty where there are no books.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// With its id.
    pub member: Option<(u64, Member)>,
    /// With its id.
    pub torrent: Option<(u64, Torrent)>,
    /// Whether the member has a token for the torrent.
    pub has_token: bool,
    /// The peers of the member at the torrent now.
    pub here: u32,
}

impl From<Known> for Account {
    fn from(known: Known) -> Self {
        let Known { member, torrent, has_token, here } = known;
        Self { member, torrent, has_token, here }
    }
}

impl Account {
    /// Returns the ids of the member and the torrent, if both are known.
    pub fn pair(&self) -> Option<(u64, u64)> {
        Some((self.member?.0, self.torrent?.0))
    }

    /// Returns what is credited where no policy says.
    pub fn terms(&self) -> Terms {
        match (&self.member, &self.torrent) {
            (Some((_, member)), Some((_, torrent))) => Terms::of(member, torrent, self.has_token),
            _ => Terms::default(),
        }
    }
}

/// What a policy has looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    pub member: bool,
    pub torrent: bool,
}
