//! What an announce adds to the books. Pure: no clock, no file.
//!
//! Clients report totals, so what an announce adds is the difference to what was known. The rules are
//! those that Ocelot and UNIT3D-Announce agree on, except for `started` of a known peer: clients
//! repeat it until an announce succeeds, so it counts like any other.

use crate::records::{Member, Torrent};

/// Bytes in both directions: all that a client reports, or what came to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bytes {
    pub uploaded: u64,
    pub downloaded: u64,
}

impl Bytes {
    /// Returns whether a client that reported this and now reports `said` has not begun anew.
    pub(crate) fn goes_on(self, said: Self) -> bool {
        said.uploaded >= self.uploaded && said.downloaded >= self.downloaded
    }
}

/// How much of what was moved is credited, in percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    pub upload: u32,
    pub download: u32,
}

/// All of it is credited.
const WHOLE: u32 = 100;
/// What a member or a torrent with double upload gets.
const DOUBLE: u32 = 200;

impl Default for Terms {
    fn default() -> Self {
        Self { upload: WHOLE, download: WHOLE }
    }
}

impl Terms {
    /// Returns the terms that the records give where no policy gives any: the better one of the
    /// member's and the torrent's in each direction. A torrent without upload credit has none for
    /// anybody.
    #[must_use]
    pub fn of(member: &Member, torrent: &Torrent, has_token: bool) -> Self {
        let doubled = member.double_upload || torrent.featured;
        let upload = u32::from(torrent.upload_percent);
        let free = member.freeleech || torrent.featured || has_token;
        Self {
            upload: if doubled && upload > 0 { upload.max(DOUBLE) } else { upload },
            download: if free { 0 } else { torrent.download_percent.into() },
        }
    }
}

/// Returns what was moved since the totals that are known of the peer. A new peer has moved nothing,
/// and so has one that reports less than before in either direction: it has begun anew.
#[must_use]
pub fn moved(known: Option<Bytes>, said: Bytes) -> Bytes {
    let known = known.filter(|known| known.goes_on(said));
    known.map_or_else(Bytes::default, |known| Bytes {
        uploaded: said.uploaded - known.uploaded,
        downloaded: said.downloaded - known.downloaded,
    })
}

/// What was moved, as far as it is possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Within {
    pub moved: Bytes,
    /// Whether it was more.
    pub suspect: bool,
    /// The bytes that are still possible in the same second: at most those of one.
    pub spare: u64,
}

/// Cuts what was moved in `seconds` since the last announce down to `rate` bytes in each of them, and
/// what that announce had to spare.
#[must_use]
pub fn within(said: Bytes, rate: u64, seconds: u64, spare: u64) -> Within {
    let most = rate.saturating_mul(seconds).saturating_add(spare);
    let moved = Bytes { uploaded: said.uploaded.min(most), downloaded: said.downloaded.min(most) };
    let used = moved.uploaded.max(moved.downloaded);
    Within { moved, suspect: moved != said, spare: (most - used).min(rate) }
}

/// Returns what is credited of what was moved, rounded down.
#[must_use]
pub fn credited(moved: Bytes, terms: Terms) -> Bytes {
    let share = |bytes: u64, percent: u32| {
        let share = u128::from(bytes) * u128::from(percent) / u128::from(WHOLE);
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    Bytes {
        uploaded: share(moved.uploaded, terms.upload),
        downloaded: share(moved.downloaded, terms.download),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(uploaded: u64, downloaded: u64) -> Bytes {
        Bytes { uploaded, downloaded }
    }

    #[test]
    fn what_was_moved_is_the_difference_to_what_was_known() {
        let table = [
            (None, bytes(500, 700), bytes(0, 0), "a new peer"),
            (Some(bytes(0, 0)), bytes(500, 700), bytes(500, 700), "both directions"),
            (Some(bytes(500, 700)), bytes(500, 700), bytes(0, 0), "a repeated announce"),
            (Some(bytes(500, 700)), bytes(499, 900), bytes(0, 0), "upload went back"),
            (Some(bytes(500, 700)), bytes(900, 699), bytes(0, 0), "download went back"),
            (Some(bytes(0, 0)), bytes(u64::MAX, 0), bytes(u64::MAX, 0), "all there is"),
        ];
        for (known, said, expected, case) in table {
            assert_eq!(moved(known, said), expected, "{case}");
        }
    }

    #[test]
    fn terms_are_the_better_of_the_member_s_and_the_torrent_s() {
        let (member, torrent) = (Member::default(), Torrent::default());
        let free = Torrent { download_percent: 0, ..torrent };
        let neutral = Torrent { upload_percent: 0, ..free };
        let featured = Torrent { featured: true, ..torrent };
        let lucky = Member { freeleech: true, double_upload: true, ..member };
        let table = [
            (member, torrent, false, (100, 100), "nothing special"),
            (member, torrent, true, (100, 0), "a token"),
            (member, free, false, (100, 0), "a free torrent"),
            (member, neutral, false, (0, 0), "a neutral torrent"),
            (member, featured, false, (200, 0), "a featured torrent"),
            (lucky, torrent, false, (200, 0), "a member with privileges"),
            (lucky, neutral, false, (0, 0), "privileges do not make neutral torrents pay"),
            (member, Torrent { upload_percent: 300, ..torrent }, false, (300, 100), "triple"),
            (lucky, Torrent { upload_percent: 300, ..torrent }, false, (300, 0), "not added up"),
            (member, Torrent { download_percent: 50, ..torrent }, false, (100, 50), "half price"),
        ];
        for (member, torrent, token, (upload, download), case) in table {
            assert_eq!(Terms::of(&member, &torrent, token), Terms { upload, download }, "{case}");
        }
    }

    #[test]
    fn what_exceeds_the_rate_is_cut() {
        let is = |uploaded, downloaded, suspect, spare| Within {
            moved: bytes(uploaded, downloaded),
            suspect,
            spare,
        };
        assert_eq!(within(bytes(1000, 100), 10, 100, 0), is(1000, 100, false, 0));
        assert_eq!(within(bytes(1001, 100), 10, 100, 0), is(1000, 100, true, 0));
        assert_eq!(within(bytes(3, 7), 10, 100, 5), is(3, 7, false, 10), "no more than a second's");
        assert_eq!(within(bytes(3, 7), 10, 0, 10), is(3, 7, false, 3), "in the same second");
        assert_eq!(within(bytes(4, 0), 10, 0, 3), is(3, 0, true, 0));
        let most = u64::MAX;
        assert_eq!(within(bytes(most, 0), most, 9, most), is(most, 0, false, 0));
    }

    proptest! {
        #[test]
        fn a_share_is_never_more_than_it_should_be(
            amount: u64, percent in 0..1000_u32,
        ) {
            let Bytes { uploaded, downloaded } =
                credited(bytes(amount, amount), Terms { upload: percent, download: 0 });
            prop_assert_eq!(downloaded, 0);
            let exact = f64::from(percent) / 100.0 * amount as f64;
            prop_assert!(uploaded == u64::MAX || (uploaded as f64) <= exact * 1.000_000_001);
            prop_assert!(percent != 100 || uploaded == amount);
        }
    }
}
