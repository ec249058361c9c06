//! Clients at several trackers that share their swarms, near peers, and a tracker that dies.

use std::net::{IpAddr, Ipv4Addr};

use karuta_tests::announce::Announce;
use karuta_tests::engines::{Cluster, Engine};
use karuta_tests::nodes::{node, start};
use karuta_tests::udp;
use karuta_tests::{Daemon, folder};

use crate::client::{Client, Program};
use crate::torrent::{self, Torrent};
use crate::{FILE, INTERVALS, SIZE, announces, patiently, seeders, url};

const NEAR: &str = "policies:\n- name: near\n  plugin: PLUGINS/subnet.wasm\n  \
                    config: { ipv4: [24], far_percent: 0 }\n";

/// An address in a network of this machine.
fn host(network: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, network, host).into()
}

#[test]
fn a_file_goes_from_node_to_node_and_on_when_one_has_died() {
    let programs = [Program::Aria2, Program::Libtorrent];
    let Some(engine) = Engine::newest().filter(|_| programs.iter().all(|one| one.is_there()))
    else {
        return;
    };
    let cluster = Cluster::start(&engine);
    let yaml = format!("{}{INTERVALS}{NEAR}", cluster.share(""));
    let mut nodes = start(3, &yaml);
    let content = torrent::content(SIZE);
    let torrent = Torrent::new(FILE, &content);
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    let at = |nodes: &[Daemon], numbers: &[usize], transport: &str| {
        let urls = numbers.iter().map(|number| url(&nodes[*number], transport, local));
        torrent.metainfo_of(&urls.collect::<Vec<_>>())
    };
    let start = |program, address, metainfo: &[u8], seeds: bool| {
        let file = seeds.then_some((FILE, &content[..]));
        Client::start(program, address, metainfo, file, &[])
    };
    let arrives = |client: &Client| {
        let arrived = || std::fs::read(client.file(FILE)).is_ok_and(|bytes| bytes == content);
        patiently("the file arrives", arrived);
    };

    // Both seeders know two nodes, and ask the first.
    let both = at(&nodes, &[0, 1], "http");
    let _seeder = start(Program::Aria2, host(1, 1), &both, true);
    let far = start(Program::Aria2, host(2, 1), &both, true);
    patiently("all nodes know both seeders", || nodes.iter().all(|node| seeders(node) == 2.0));
    let over_http = start(Program::Aria2, host(1, 2), &at(&nodes, &[1], "http"), false);
    let over_udp = start(Program::Libtorrent, host(2, 3), &at(&nodes, &[2], "udp"), false);
    arrives(&over_http);
    arrives(&over_udp);
    assert!(announces(&nodes[1], "http", "ok") >= 1.0);
    assert!(announces(&nodes[2], "udp", "ok") >= 1.0);
    patiently("all nodes know four seeders", || nodes.iter().all(|node| seeders(node) == 4.0));

    // Of the peers of all nodes, those of the client's own network are chosen.
    for network in [1, 2] {
        let client = udp::Client::connect_from(host(network, 99), nodes[2].udp);
        let announce = Announce::of_hash(torrent.info_hash()).port(9).want(2);
        for _ in 0..10 {
            let given = announce.udp(&client).expect("it is let in").peers;
            let is_near = |ip: IpAddr| {
                ip == host(network, 1) || ip == host(network, if network == 1 { 2 } else { 3 })
            };
            assert!(given.len() == 2 && given.iter().all(|peer| is_near(peer.ip())), "{given:?}");
        }
        announce.event("stopped").udp(&client).expect("it is let in");
    }

    // The seeders' node dies, and they go on at the next one.
    drop((over_http, over_udp, far));
    let folder_of_first = nodes.remove(0).kill();
    let before = announces(&nodes[0], "http", "ok");
    patiently("the seeder goes on", || announces(&nodes[0], "http", "ok") > before);
    let last = start(Program::Aria2, host(3, 1), &both, false);
    arrives(&last);

    // It is back, and knows all that has happened meanwhile.
    let back = Daemon::start_in(folder_of_first);
    assert!(seeders(&back) >= 2.0);
    let fourth = Daemon::start_in(folder(&node(&yaml)));
    assert!(seeders(&fourth) >= 2.0);
}
