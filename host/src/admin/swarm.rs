//! `/api/swarms/HASH`: one swarm, and some of its peers.

use hyper::StatusCode;
use karuta_bittorrent::{Counts, Family, InfoHash, Peers};
use karuta_swarm::{Candidate, Piece, Role, SavedPeer, Store};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use url::form_urlencoded;

use super::reply::{Reply, json, line};
use super::request::Request;
use super::{Admin, give_way};
use crate::config::Right;
use crate::export::role_name;

/// The path of a swarm, without its info-hash.
pub const PATH: &str = "/api/swarms/";
/// The most peers that are shown.
const PEERS: usize = 1000;

/// What is known of a swarm.
#[derive(Serialize)]
pub struct Swarm {
    pub info_hash: String,
    pub complete: u32,
    pub incomplete: u32,
    /// Of `incomplete`: those that want no more (BEP 21).
    pub partial_seeds: u32,
    pub downloaded: u32,
    pub ipv4: OfFamily,
    pub ipv6: OfFamily,
    /// Peers with a label, which policies give to find near peers.
    pub labelled: u64,
    /// How long ago peers announced, in seconds; `None`: there are none.
    pub age_seconds: Option<Ages>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<Peer>>,
}

/// The peers of one address family. Two peers of one client are both counted here, once above.
#[derive(Default, Serialize)]
pub struct OfFamily {
    pub seeders: u64,
    pub leechers: u64,
}

#[derive(Serialize)]
pub struct Ages {
    pub youngest: u32,
    pub mean: u64,
    pub oldest: u32,
}

#[derive(Serialize)]
pub struct Peer {
    pub address: String,
    pub role: &'static str,
    pub age_seconds: u32,
    /// In hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Counted, but given to nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// Answers with a swarm. Large ones are read piece by piece, and other requests come between.
pub async fn swarm(admin: &Admin, request: Request) -> Reply {
    let uri = &request.head.uri;
    let Some(info_hash) = uri.path().strip_prefix(PATH).and_then(info_hash) else {
        let reason =
            "expected an info-hash: 40 hexadecimal digits, or 20 bytes escaped as in a URL";
        return line(StatusCode::BAD_REQUEST, reason);
    };
    let shown = match shown(uri.query().unwrap_or_default()) {
        Ok(shown) => shown,
        Err(reason) => return line(StatusCode::BAD_REQUEST, &reason),
    };
    if shown.is_some()
        && let Err(denial) = admin.access.judge(Some(Right::Peers), &request, admin.tls.is_some())
    {
        admin.metrics.denied(denial.reason());
        return denial.reply();
    }
    match find(admin, info_hash, shown).await {
        Some(swarm) => json(StatusCode::OK, &swarm),
        None => line(StatusCode::NOT_FOUND, "there is no such swarm"),
    }
}

/// Looks at a swarm and up to `shown` of its peers; `None`: there is none.
pub async fn find(admin: &Admin, info_hash: InfoHash, shown: Option<usize>) -> Option<Swarm> {
    let store = &*admin.swarms.store;
    let counts = store.counts(info_hash)?;
    let now = admin.swarms.clock().now;
    Some(look(store, (info_hash, counts), now, shown).await)
}

async fn look<S: Store>(
    store: &S,
    (info_hash, counts): (InfoHash, Counts),
    now: u32,
    shown: Option<usize>,
) -> Swarm {
    let Counts { seeders, leechers, partial_seeds, completed } = counts;
    let mut swarm = Swarm {
        info_hash: info_hash.to_string(),
        complete: seeders,
        incomplete: leechers,
        partial_seeds,
        downloaded: completed,
        ipv4: OfFamily::default(),
        ipv6: OfFamily::default(),
        labelled: 0,
        age_seconds: None,
        peers: shown.map(|_| Vec::new()),
    };
    let (mut walk, mut piece) = (S::Walk::from(info_hash), Piece::default());
    let (mut addresses, mut known) = (Peers::default(), Vec::new());
    let (mut all, mut sum) = (0, 0);
    while store.next_piece(&mut walk, now, &mut piece) {
        // As `describe` orders them.
        piece.peers.sort_by_key(|peer| peer.address.is_ipv6());
        addresses.clear();
        known.clear();
        for peer in &piece.peers {
            addresses.insert(addresses.len_of(Family::of(peer.address.ip())), peer.address);
        }
        store.describe(info_hash, &addresses, now, &mut known);
        for (peer, Candidate { label, .. }) in piece.peers.iter().zip(&known) {
            let family = if peer.address.is_ipv6() { &mut swarm.ipv6 } else { &mut swarm.ipv4 };
            let of_role =
                if peer.role == Role::Seeder { &mut family.seeders } else { &mut family.leechers };
            *of_role += 1;
            swarm.labelled += u64::from(*label != 0);
            (all, sum) = (all + 1, sum + u64::from(peer.age));
            let ages =
                swarm.age_seconds.get_or_insert(Ages { youngest: peer.age, mean: 0, oldest: 0 });
            ages.youngest = ages.youngest.min(peer.age);
            ages.oldest = ages.oldest.max(peer.age);
            ages.mean = sum / all;
            let listed = swarm.peers.as_mut().filter(|listed| Some(listed.len()) < shown);
            if let Some(listed) = listed {
                listed.push(Peer::of(peer, *label));
            }
        }
        give_way().await;
    }
    swarm
}

impl Peer {
    fn of(peer: &SavedPeer, label: u64) -> Self {
        Self {
            address: peer.address.to_string(),
            role: role_name(peer.role),
            age_seconds: peer.age,
            label: (label != 0).then(|| format!("{label:016x}")),
            hidden: peer.is_hidden,
        }
    }
}

/// Reads how many peers are wanted; `None`: none.
fn shown(query: &str) -> Result<Option<usize>, String> {
    let mut shown = None;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*key, value.parse()) {
            ("peers", Ok(0)) => shown = None,
            ("peers", Ok(count)) if count <= PEERS => shown = Some(count),
            ("peers", _) => return Err(format!("peers: expected 0 to {PEERS}")),
            _ => return Err(format!("unknown parameter `{key}`")),
        }
    }
    Ok(shown)
}

/// Reads an info-hash in hexadecimal digits, or escaped as it stands in the URL of an announce.
pub fn info_hash(text: &str) -> Option<InfoHash> {
    let raw = || percent_decode_str(text).collect::<Vec<_>>().try_into().ok().map(InfoHash);
    InfoHash::from_hex(text).or_else(raw)
}
