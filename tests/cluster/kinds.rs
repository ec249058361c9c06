//! All that a peer has beside its address reaches other nodes.

use std::net::{IpAddr, Ipv4Addr};

use karuta_tests::announce::Announce;
use karuta_tests::engines::{Engine, Single};
use karuta_tests::nodes::become_equal;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, folder, ipv6};

use crate::alone;

/// Starts two nodes on both families, each with two workers and with more YAML.
fn two(single: &Single, more: &str) -> [Daemon; 2] {
    let yaml =
        format!("tracker: {{ workers: 2 }}\n{}{}{more}", karuta_tests::LISTENERS, single.share(""));
    [&yaml, &yaml].map(|yaml| Daemon::start_in(folder(yaml)))
}

#[test]
fn peers_of_both_families_are_shared_with_their_roles() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &[]);
    let nodes = two(&single, "");
    let at = ipv6(nodes[0].http);
    for port in 1..20 {
        Announce::of('a').port(port).http(nodes[0].http).expect("it is let in");
        Announce::of('a').port(port).seeder().http(at).expect("it is let in");
    }
    Announce::of('a').port(30).event("paused").http(nodes[0].http).expect("it is let in");
    // Only a peer that is known as a leecher completes.
    become_equal(&[&nodes[0], &nodes[1]]);
    Announce::of('a').port(1).seeder().event("completed").http(nodes[1].http).expect("let in");
    let known = become_equal(&[&nodes[0], &nodes[1]]);
    let swarm = known.values().next().expect("a torrent");
    assert_eq!((swarm.downloads, swarm.peers.len()), (1, 39));
    let reply = Announce::of('a').port(99).want(100).http(nodes[1].http).expect("it is let in");
    assert_eq!(reply.peers.len(), 39);
    let partial = swarm.peers.values().filter(|role| *role == "partial-seed").count();
    assert_eq!(partial, 1);
}

#[test]
fn a_client_at_two_nodes_is_one_client_by_its_peer_id() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &[]);
    let nodes = two(&single, "  keep_peer_ids: true\n");
    Announce::of('a').seeder().http(nodes[0].http).expect("it is let in");
    Announce::of('a').seeder().http(ipv6(nodes[1].http)).expect("it is let in");
    let known = become_equal(&[&nodes[0], &nodes[1]]);
    let swarm = known.values().next().expect("a torrent");
    assert_eq!((swarm.peers.len(), swarm.counts), (2, [1, 0]));
}

#[test]
fn near_peers_are_chosen_among_those_of_all_nodes() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &[]);
    let subnet = "policies:\n- name: near\n  plugin: PLUGINS/subnet.wasm\n  \
                  config: { ipv4: [24], far_percent: 0 }\n";
    let nodes = two(&single, subnet);
    for rack in 1..=3 {
        for host in 1..=10 {
            let from = IpAddr::from(Ipv4Addr::new(127, 1, rack, host));
            let client = Client::connect_from(from, nodes[0].udp);
            Announce::of('a').udp(&client).expect("it is let in");
        }
    }
    become_equal(&[&nodes[0], &nodes[1]]);
    let client = Client::connect_from(Ipv4Addr::new(127, 1, 2, 99).into(), nodes[1].udp);
    let reply = Announce::of('a').want(10).udp(&client).expect("it is let in");
    let near: Vec<_> = (1..=10).map(|host| Ipv4Addr::new(127, 1, 2, host)).collect();
    let given: Vec<_> = reply.peers.iter().map(|peer| peer.ip()).collect();
    assert_eq!(given, near);
    // A node that starts later has read the labels from the log.
    let late = Daemon::start_in(folder(&format!(
        "{}{}{subnet}",
        karuta_tests::LISTENERS,
        single.share("")
    )));
    become_equal(&[&nodes[0], &late]);
    let client = Client::connect_from(Ipv4Addr::new(127, 1, 3, 99).into(), late.udp);
    let reply = Announce::of('a').want(10).udp(&client).expect("it is let in");
    assert!(reply.peers.iter().all(|peer| peer.ip().to_string().starts_with("127.1.3.")));
}

#[test]
fn gateways_are_those_of_all_nodes() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &[]);
    let subnet = "policies:\n- name: near\n  plugin: PLUGINS/subnet.wasm\n  \
                  config: { ipv4: [24], gateways: 1 }\n";
    let nodes = two(&single, subnet);
    let given = |node: usize, host: [u8; 2]| -> Vec<[u8; 2]> {
        let from = IpAddr::from(Ipv4Addr::new(127, 1, host[0], host[1]));
        let client = Client::connect_from(from, nodes[node].udp);
        let reply = Announce::of('a').want(50).udp(&client).expect("it is let in");
        let hosts = reply.peers.iter().map(|peer| match peer.ip() {
            IpAddr::V4(ip) => [ip.octets()[2], ip.octets()[3]],
            IpAddr::V6(ip) => panic!("there is no {ip}"),
        });
        hosts.collect()
    };
    // The first host of each rack becomes its gateway, at either node.
    for (node, rack) in [(0, 1), (1, 2), (0, 3)] {
        given(node, [rack, 1]);
        become_equal(&[&nodes[0], &nodes[1]]);
        given(1 - node, [rack, 2]);
        become_equal(&[&nodes[0], &nodes[1]]);
    }
    for node in [0, 1] {
        assert_eq!(given(node, [1, 1]), [[1, 2], [2, 1], [3, 1]], "node {node}");
        assert_eq!(given(node, [1, 2]), [[1, 1]], "node {node}");
        become_equal(&[&nodes[0], &nodes[1]]);
    }
}
