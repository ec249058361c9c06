//! The books of a private tracker, as one worker uses them: whose request it is, and what it reports.

use std::borrow::{Borrow, BorrowMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use karuta_accounts::{Accounts, Bytes, Entry, Receipt, Search, Standing};
use karuta_bittorrent::{Event, InfoHash, PeerId, Peers};
use karuta_swarm::{Seconds, Shared, Store, Update};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::config::CredentialRule;
use crate::exchange::{Exchange, Ruling};

/// The most bytes of a user agent that are noted.
const AGENT: usize = 64;

/// The books, and where requests have the passkey.
#[derive(Clone)]
pub struct Books {
    pub accounts: Arc<Accounts>,
    pub credential: Arc<[CredentialRule]>,
    /// The seconds between two announces that the site asks for; 0: it asks for none.
    pub interval: Arc<AtomicU32>,
    /// Whether the site's database has user agents.
    pub notes_agents: bool,
}

impl Books {
    /// Returns the interval and the minimal one, given those of the configuration, in seconds.
    pub fn intervals(&self, interval: u32, min_interval: u32) -> (u32, u32) {
        intervals(self.interval.load(Relaxed), interval, min_interval)
    }

    /// Notes the members and the torrents of requests that are not refused.
    pub fn look_up<R: BorrowMut<Box<Exchange>>>(&self, batch: &mut [R], search: &mut Search) {
        let directory = self.accounts.directory();
        for exchange in batch.iter().map(Borrow::borrow).filter(|exchange| is_open(exchange)) {
            let passkey = exchange.request.credential(&self.credential);
            let info_hash = exchange.request.announce.info_hash;
            directory.ask(search, passkey.as_deref(), info_hash);
        }
        let exchanges = batch.iter_mut().map(BorrowMut::borrow_mut);
        let asked = exchanges.filter(|exchange| is_open(exchange));
        for (exchange, known) in asked.zip(directory.find(search)) {
            exchange.request.account = known.into();
        }
    }

    /// Notes the torrent of a request whose member is known, as each info-hash of a scrape is another
    /// one.
    pub fn look_up_torrent(&self, exchange: &mut Exchange) {
        let directory = self.accounts.directory();
        let account = &mut exchange.request.account;
        account.torrent = directory.torrent(exchange.request.announce.info_hash);
        if let Some((member, torrent)) = account.pair() {
            (account.has_token, account.here) = directory.at(member, torrent);
        }
    }

    /// Notes where the peer of an announce is that is let in, and collects the other peers that its
    /// member has there: nobody is given peers of their own.
    pub fn meet(&self, exchange: &Exchange, now: u64, own: &mut Vec<SocketAddr>) {
        own.clear();
        if let Some(pair) = exchange.request.account.pair() {
            let leaves = exchange.request.announce.event == Event::Stopped;
            self.accounts.meet(pair, address(exchange), leaves, now, |other| own.push(other));
        }
    }

    /// Enters an announce, whatever was decided on it: a member who may not download any more would
    /// otherwise download for nothing. Returns the receipt that its answer must wait for, if any.
    pub fn enter(&self, exchange: &Exchange, is_admitted: bool, at: u64) -> Option<Receipt> {
        let account = &exchange.request.account;
        let (member, torrent) = account.pair()?;
        let announce = &exchange.request.announce;
        let address = address(exchange);
        let is_visible = account.member.is_some_and(|(_, member)| member.visible);
        let has_left = announce.event == Event::Stopped;
        let peer = match is_admitted {
            true if has_left => Standing::Gone,
            true => Standing::Here,
            // Even if it says that it leaves.
            false if self.accounts.has_peers((member, torrent), at) => Standing::AsBefore,
            false => Standing::Gone,
        };
        let event = match announce.event {
            // It is repeated with each announce, and none of them is the last.
            Event::Paused => Event::None,
            event => event,
        };
        let has_agent = self.notes_agents && event != Event::None;
        self.accounts.enter(Entry {
            member,
            torrent,
            peer_id: announce.peer_id,
            event,
            said: announce
                .has_totals
                .then_some(Bytes { uploaded: announce.uploaded, downloaded: announce.downloaded }),
            corrupt: announce.corrupt,
            left: announce.left,
            terms: exchange.answer.credit.unwrap_or_else(|| account.terms()),
            has_token: account.has_token,
            peer,
            address: is_visible.then_some(address),
            agent: has_agent.then(|| agent(exchange)).flatten(),
            at,
        })
    }
}

/// Returns the address of the peer of an announce.
fn address(exchange: &Exchange) -> SocketAddr {
    (exchange.request.address, exchange.request.announce.port).into()
}

fn is_open(exchange: &Exchange) -> bool {
    exchange.answer.ruling == Ruling::Open
}

/// Returns the user agent of a request, as far as it is printable ASCII.
fn agent(exchange: &Exchange) -> Option<Box<str>> {
    let agent = exchange.request.target.get()?.header_bytes("user-agent")?;
    let is_plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    Some(agent.iter().copied().filter(is_plain).take(AGENT).map(char::from).collect())
}

/// Returns the interval and the minimal one, given what a site has `asked` for, 0 for nothing, and those of
/// the configuration, in seconds.
pub fn intervals(asked: u32, interval: u32, min_interval: u32) -> (u32, u32) {
    match asked {
        0 => (interval, min_interval),
        asked => (asked, min_interval.min(asked)),
    }
}

/// Takes peers out of the swarms of these info-hashes.
pub fn leave(store: &Shared, peers: &[(Vec<InfoHash>, SocketAddr)], now: Seconds) {
    let mut rng = SmallRng::seed_from_u64(0);
    for (hashes, peer) in peers {
        for info_hash in hashes {
            let update = Update {
                info_hash: *info_hash,
                peer: *peer,
                peer_id: PeerId::UNKNOWN,
                event: Event::Stopped,
                seeder: false,
                want: 0,
                only: None,
                locality: None,
                is_hidden: false,
                now,
            };
            // A peer can always leave.
            let _ = store.announce(&update, &mut rng, &mut Peers::default());
        }
    }
}
