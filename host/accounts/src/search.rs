//! Looks for the members and torrents of requests that came together: each step for all of them, so that
//! what one needs is fetched into the processor's caches while others are looked for.

use karuta_bittorrent::InfoHash;

use crate::directory::{Digest, Directory};
use crate::found::Sought;
use crate::records::{Member, Torrent};

/// Requests, and what is known of them.
#[derive(Default)]
pub struct Search {
    asked: Vec<Asked>,
    steps: Vec<Steps>,
    known: Vec<Known>,
}

/// What a request says.
struct Asked {
    passkey: Option<Digest>,
    info_hash: InfoHash,
}

/// Where its member and its torrent are.
struct Steps {
    member: Option<Sought>,
    torrent: Sought,
}

/// What is known of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// With its id.
    pub member: Option<(u64, Member)>,
    /// With its id.
    pub torrent: Option<(u64, Torrent)>,
    /// Whether the member has a token for the torrent.
    pub has_token: bool,
    /// The peers of the member at the torrent now.
    pub here: u32,
}

impl Known {
    /// Returns the ids of the member and the torrent, if both are known.
    fn pair(&self) -> Option<(u64, u64)> {
        Some((self.member?.0, self.torrent?.0))
    }
}

impl Directory {
    /// Adds a request to a search.
    pub fn ask(&self, search: &mut Search, passkey: Option<&str>, info_hash: InfoHash) {
        let passkey = passkey.map(|passkey| self.digests.of(passkey));
        search.asked.push(Asked { passkey, info_hash });
    }

    /// Looks for what was asked for. Returns what is known of each request, in their order; the search
    /// is empty again.
    pub fn find<'a>(&self, search: &'a mut Search) -> impl Iterator<Item = Known> + use<'a> {
        let Search { asked, steps, known } = search;
        let (members, torrents) = (self.members.view(), self.torrents.view());
        steps.extend(asked.drain(..).map(|Asked { passkey, info_hash }| Steps {
            torrent: torrents.seek(&info_hash.0),
            member: passkey.map(|passkey| members.seek(&passkey)),
        }));
        for Steps { member, torrent } in &mut *steps {
            torrents.approach(torrent);
            member.iter_mut().for_each(|member| members.approach(member));
        }
        // With a single one, there is no other work to overlap with.
        let are_several = steps.len() > 1;
        known.extend(steps.drain(..).map(|Steps { member, torrent }| {
            let member = member.and_then(|member| members.found(&member));
            let known = Known { member, torrent: torrents.found(&torrent), ..Known::default() };
            if let Some(pair) = known.pair().filter(|_| are_several) {
                self.pairs.fetch(pair);
            }
            known
        }));
        for known in &mut *known {
            if let Some(pair) = known.pair() {
                (known.has_token, known.here) =
                    self.pairs.look(pair, |at| (at.has_token, at.here.all()));
            }
        }
        known.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{changes, options, wait};
    use crate::{Accounts, Change, TokenChange};

    #[test]
    fn each_request_gets_what_is_known_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(&folder.path().join("accounts.db"), options(), None).unwrap();
        let token = Change::Token(TokenChange { exists: true, member: 2, torrent: 3 });
        wait(accounts.change([changes(), vec![token]].concat())).unwrap();
        let directory = accounts.directory();
        let mut search = Search::default();
        let passkeys = [Some(1), Some(2), None, Some(9)]
            .map(|of: Option<u64>| of.map(|of| format!("{of:032}")));
        for count in [1, 16] {
            let asked = || {
                (0..count).map(|at: usize| (&passkeys[at % 4], InfoHash([(at / 4) as u8 + 1; 20])))
            };
            for (passkey, info_hash) in asked() {
                directory.ask(&mut search, passkey.as_deref(), info_hash);
            }
            let found: Vec<_> = directory.find(&mut search).collect();
            assert_eq!(found.len(), count);
            for (known, (passkey, info_hash)) in found.iter().zip(asked()) {
                let member = passkey.as_ref().and_then(|passkey| directory.member(passkey));
                assert_eq!((known.member, known.torrent), (member, directory.torrent(info_hash)));
                assert_eq!(known.has_token, known.pair() == Some((2, 3)));
            }
            assert_eq!(found.iter().filter(|known| known.has_token).count(), count / 16);
        }
        assert_eq!(directory.find(&mut search).count(), 0);
    }
}
