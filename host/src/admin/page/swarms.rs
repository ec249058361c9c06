//! Swarms: totals, sizes, the top torrents, and one torrent.

use std::net::SocketAddr;

use askama::Template;
use url::form_urlencoded;

use super::number::{self, Moment};
use super::spark;
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::lists::editable;
use crate::admin::ranking::{Measure, Size};
use crate::admin::swarm::{self, Swarm};
use crate::admin::top::{self, Ranked};
use crate::config::Right;
use crate::decisions::prefix;
use karuta_swarm::Totals;

/// What is asked about swarms.
#[derive(Default)]
pub struct Asked {
    /// What torrents are ranked by; `None`: the page is opened without a wish.
    pub by: Option<Measure>,
    /// An info-hash to look at; empty: none.
    pub hash: String,
}

#[derive(Template)]
#[template(path = "swarms.html")]
pub struct Swarms {
    totals: Totals,
    hash: String,
    found: Option<Result<Swarm, String>>,
    lacks_peers: Option<&'static str>,
    /// `None`: they are many, and nobody has asked for it.
    ranking: Option<Ranked>,
    as_of: Moment,
    names: [&'static str; 4],
    /// The lists of torrents that can be edited.
    lists: Vec<String>,
}

/// Up to this many swarms are ranked when the page is opened. It takes some milliseconds.
const FEW: u64 = 50_000;
/// How many torrents are listed.
const TOP: usize = 50;
/// How many peers of a torrent are shown.
const PEERS: usize = 50;

impl Swarms {
    pub async fn of(admin: &Admin, viewer: &Viewer, asked: Asked) -> Self {
        let totals = admin.metrics.totals();
        let ranking = match asked.by {
            None if totals.swarms > FEW => None,
            by => Some(top::ranked(admin, by.unwrap_or(Measure::Peers), TOP).await),
        };
        let found = match asked.hash.trim() {
            "" => None,
            text => Some(find(admin, viewer, text).await),
        };
        Self {
            totals,
            hash: asked.hash,
            found,
            lacks_peers: viewer.lacks(&Right::Peers),
            as_of: Moment(ranking.as_ref().map_or(0, |ranking| ranking.as_of)),
            ranking,
            names: Measure::ALL.map(Measure::name),
            lists: lists_of_torrents(admin),
        }
    }

    fn families(&self) -> [(&'static str, u64, u64); 3] {
        let Totals { ipv4, ipv6, .. } = &self.totals;
        [
            ("IPv4", ipv4.seeders, ipv4.leechers),
            ("IPv6", ipv6.seeders, ipv6.leechers),
            ("all", ipv4.seeders + ipv6.seeders, ipv4.leechers + ipv6.leechers),
        ]
    }

    /// Draws how many swarms have a size, compared with the commonest size.
    fn bar(&self, size: &Size) -> String {
        let sizes = self.ranking.iter().flat_map(|ranking| &ranking.sizes);
        let most = sizes.map(|size| size.swarms).max().unwrap_or_default();
        let name = format!("{} of at most {most}", size.swarms);
        spark::bar(&name, &[(size.swarms, "accept"), (most - size.swarms, "none")])
    }
}

/// Returns what stands for a family in the names of series.
fn series(family: &str) -> &'static str {
    match family {
        "IPv4" => "ipv4",
        "IPv6" => "ipv6",
        _ => "*",
    }
}

fn lists_of_torrents(admin: &Admin) -> Vec<String> {
    let editable = editable(admin).into_iter().filter(|list| list.is_of_torrents);
    editable.map(|list| list.name).collect()
}

/// Returns where the form to edit a list has a torrent in it.
fn edit(list: &str, info_hash: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("list", list).append_pair("entry", info_hash);
    format!("/?{}#edits", query.finish())
}

/// Writes how much more there is.
fn growth(by: &i64) -> String {
    match by {
        0 => "0".to_owned(),
        1.. => format!("+{}", number::count(by.unsigned_abs())),
        _ => format!("−{}", number::count(by.unsigned_abs())),
    }
}

/// Writes how many peers a swarm of a size has.
fn peers(size: &Size) -> String {
    match (size.at_least, size.at_most) {
        (one, other) if one == other => number::count(one),
        (1_000_000.., _) => "more".to_owned(),
        (least, most) => format!("{} to {}", number::count(least), number::count(most)),
    }
}

/// Looks at one torrent. Without the right to see peers, networks stand for their addresses.
async fn find(admin: &Admin, viewer: &Viewer, text: &str) -> Result<Swarm, String> {
    let info_hash = swarm::info_hash(text)
        .ok_or("expected an info-hash: 40 hexadecimal digits, or 20 bytes escaped as in a URL")?;
    let found = swarm::find(admin, info_hash, Some(PEERS)).await;
    let mut swarm = found.ok_or_else(|| format!("there is no swarm of {info_hash}"))?;
    if !viewer.may(&Right::Peers) {
        for peer in swarm.peers.iter_mut().flatten() {
            peer.address = masked(&peer.address);
        }
    }
    Ok(swarm)
}

/// Returns the network of an address with a port.
fn masked(address: &str) -> String {
    let address = address.parse::<SocketAddr>().ok();
    let network = address.map(|address| prefix(address.ip().to_canonical()));
    network.map_or_else(|| "–".to_owned(), |network| network.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_has_a_sign() {
        assert_eq!([growth(&1234), growth(&0), growth(&-5)], ["+1,234", "0", "−5"]);
    }

    #[test]
    fn a_masked_address_is_a_network() {
        assert_eq!(masked("192.0.2.77:6881"), "192.0.2.0/24");
        assert_eq!(masked("[2001:db8:1:2::3]:6881"), "2001:db8:1::/48");
        assert_eq!(masked("[::ffff:192.0.2.77]:6881"), "192.0.2.0/24");
        assert_eq!(masked("nonsense"), "–");
    }
}
