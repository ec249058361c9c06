//! The peers that a tracker hands out to 10 000 hosts. Each host announces over UDP from its own
//! address; there are no real clients.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use karuta_tests::Daemon;
use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::graph::Graph;

/// Rows of racks of hosts.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub rows: u8,
    /// Racks per row.
    pub racks: u8,
    /// Hosts per rack.
    pub hosts: u8,
}

/// 250 racks of 40 hosts.
pub const LARGE: Site = Site { rows: 10, racks: 25, hosts: 40 };

impl Site {
    /// Returns the addresses. Row 1, rack 0 has 127.1.0.1, 127.1.0.2 and so on: a row is a /16, a
    /// rack a /24.
    fn addresses(self) -> Vec<Ipv4Addr> {
        let racks = (1..=self.rows).flat_map(|row| (0..self.racks).map(move |rack| (row, rack)));
        let hosts = |(row, rack)| (1..=self.hosts).map(move |host| [127, row, rack, host].into());
        racks.flat_map(hosts).collect()
    }
}

/// The peers in the answers to one announce of every host.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct HandedOut {
    /// Peers in the client's own rack.
    pub rack: usize,
    /// Peers in its row, but not in its rack.
    pub row: usize,
    /// Peers in other rows.
    pub elsewhere: usize,
    /// Hosts that know a host of another rack.
    pub crossing: usize,
    /// Connected components of the graph of hosts and the peers that they got.
    pub components: usize,
    /// The largest diameter of a component.
    pub diameter: u32,
}

impl HandedOut {
    pub fn all(&self) -> usize {
        self.rack + self.row + self.elsewhere
    }
}

/// Lets all hosts of a site join, as leechers and in random order, and then each announce for
/// `want` peers. `policies` is the part of the configuration.
pub fn ask_all(site: Site, want: i32, policies: &str) -> HandedOut {
    let daemon = Daemon::start_with(&format!(
        "udp: [{{ listen: '0.0.0.0:0' }}]\nadmin: {{ listen: '127.0.0.1:0' }}\n{policies}"
    ));
    let mut addresses = site.addresses();
    addresses.shuffle(&mut SmallRng::seed_from_u64(1));
    let announce = |address: Ipv4Addr, want| {
        let client = Client::connect_from(address.into(), daemon.udp);
        Announce::of('a').want(want).udp(&client).expect("every client is admitted").peers
    };
    for &address in &addresses {
        announce(address, 0);
    }
    let numbers: HashMap<Ipv4Addr, usize> = addresses.iter().copied().zip(0..).collect();
    let mut graph = Graph::new(addresses.len());
    let (mut rack, mut row, mut elsewhere) = (0, 0, 0);
    let mut crosses = vec![false; addresses.len()];
    for (number, &address) in addresses.iter().enumerate() {
        for peer in announce(address, want) {
            let peer = ipv4(peer);
            let [a, b] = [address, peer].map(|address| address.octets());
            *match () {
                () if a[..3] == b[..3] => &mut rack,
                () if a[..2] == b[..2] => &mut row,
                () => &mut elsewhere,
            } += 1;
            if a[..3] != b[..3] {
                crosses[number] = true;
                crosses[numbers[&peer]] = true;
            }
            graph.connect(number, numbers[&peer]);
        }
    }
    let (components, diameter) = (graph.components(), graph.diameter());
    let crossing = crosses.iter().filter(|crosses| **crosses).count();
    HandedOut { rack, row, elsewhere, crossing, components, diameter }
}

fn ipv4(peer: SocketAddr) -> Ipv4Addr {
    match peer.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("there is no {address} among the hosts"),
    }
}

/// Returns the policy `subnet` with racks, or racks and rows, a share for peers outside of them, and
/// gateways.
pub fn subnet(levels: &str, far_percent: u8, gateways: u8) -> String {
    format!(
        "policies: [{{ name: near, plugin: PLUGINS/subnet.wasm, \
         config: {{ ipv4: {levels}, far_percent: {far_percent}, gateways: {gateways} }} }}]\n"
    )
}
