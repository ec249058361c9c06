//! Which records are wanted.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use karuta_bittorrent::parameters::Parameters;
use karuta_bittorrent::{InfoHash, Transport, query, udp};
use siphasher::sip::SipHasher13;

use super::record::Record;
use crate::metrics::Outcome;

/// What all that is set agrees with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// All requests of one client in so many.
    pub sample: Option<NonZeroU32>,
    pub from: Option<IpNet>,
    /// An announce of this torrent, or a scrape that asks for it.
    pub info_hash: Option<InfoHash>,
    /// Any of these.
    pub outcomes: Vec<Outcome>,
    /// Decides which clients are in the sample.
    pub key: u64,
}

impl Filter {
    pub fn admits(&self, record: &Record) -> bool {
        self.outcomes.contains(&record.outcome)
            && self.from.is_none_or(|from| from.contains(&record.client))
            && self
                .sample
                .is_none_or(|many| self.hash(record.client).is_multiple_of(many.get().into()))
            && self.info_hash.is_none_or(|hash| concerns(record, hash))
    }

    /// All that a client asks is in the sample or none of it, so that what limits clients sees the same.
    fn hash(&self, client: IpAddr) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key, 0);
        match client {
            IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
            IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
        }
        hasher.finish()
    }
}

fn concerns(record: &Record, wanted: InfoHash) -> bool {
    match record.transport {
        Transport::Udp if record.is_scrape => {
            udp::scrape(record.request).is_ok_and(|mut asked| asked.any(|hash| hash == wanted))
        }
        Transport::Udp => {
            let read = udp::announce(record.request, &mut Vec::new());
            read.is_ok_and(|announce| announce.info_hash == wanted)
        }
        Transport::Http | Transport::Https => {
            let target = record.request.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let (_, query) = query::split(target);
            let mut asked = Vec::new();
            // An announce has one as a scrape may have.
            let read = query::scrape(query, &Parameters::of(query), usize::MAX, &mut asked);
            read.is_ok() && asked.contains(&wanted)
        }
    }
}
