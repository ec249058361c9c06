//! The Debian package, on a Debian that boots: installed, served from, upgraded, removed.

mod machine;
mod restart;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{eventually, get};

use machine::{Machine, does_without_systemd, lint};

const INSTALL: &str = "apt-get install --quiet --yes /packages/karuta.deb";
/// Keeps an edited configuration without asking.
const UPGRADE: &str = "dpkg --force-confdef --force-confold --install /packages/next.deb";
/// Where the installed configuration listens.
const TRACKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 6969);

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6880);

/// Boots a machine and installs the package.
fn installed() -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.does(INSTALL);
    machine.serves();
    Some(machine)
}

/// Writes the configuration.
fn configure(machine: &Machine, yaml: &str) {
    machine.does(&format!("cat >/etc/karuta/config.yaml <<'END'\n{yaml}\nEND\n"));
}

/// Returns a property of the service.
fn property(machine: &Machine, name: &str) -> String {
    machine.does(&format!("systemctl show karuta --value --property={name}")).trim().to_owned()
}

/// Announces over both transports, and returns why it was refused.
fn refusals(machine: &Machine, announce: Announce) -> [Option<String>; 2] {
    machine.in_its_network(|| {
        [announce.http(TRACKER).err(), announce.udp(&Client::connect(TRACKER)).err()]
    })
}

#[test]
fn it_serves_as_installed() {
    let Some(machine) = installed() else { return };
    assert_eq!(refusals(&machine, Announce::of('a')), [None, None]);
    let refused = Some("unapproved client".to_owned());
    assert_eq!(refusals(&machine, Announce::of('a').client("-XL")), [refused.clone(), refused]);

    machine.does("systemctl is-enabled karuta.service");
    machine.does("systemd-analyze security --threshold=20 karuta.service");
    machine.does("systemd-analyze verify --man=no karuta.service karuta.socket");
    machine.does("karuta check --config /etc/karuta/config.yaml");
    assert_eq!(machine.does("stat --format=%U:%a /var/lib/karuta"), "karuta:700\n");
    let socket = "stat --format=%U:%G:%a /run/karuta/admin.sock";
    assert_eq!(machine.does(socket), "karuta:karuta:660\n");
    machine.does("runuser -u karuta -- karuta status --config /etc/karuta/config.yaml");
    machine.does("karuta status --admin unix:/run/karuta/admin.sock");
    machine.does("karuta probe udp://127.0.0.1:6969 http://[::1]:6969/announce");
    let doctor = "karuta doctor --config /etc/karuta/config.yaml";
    let found = machine.does(&format!("runuser -u karuta -- {doctor}"));
    assert!(found.contains("/var/lib/karuta belongs to this user"), "{found}");
    // The machine has no D-Bus, so only root may ask systemd.
    let found = machine.does(doctor);
    assert!(found.contains("karuta.service has the options that matter"), "{found}");
    // The unit hides most of /proc.
    let metrics = machine.in_its_network(|| get(ADMIN, "/metrics", &[]).body_text());
    for series in ["karuta_udp_kernel_drops_total", "karuta_tcp_accept_overflows_total"] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    // Lines have priorities, and times only from journald.
    let lines =
        |priority: &str| machine.does(&format!("journalctl -u karuta -o cat -p {priority}"));
    assert!(lines("info").contains("INFO karuta::daemon: ready"), "{}", lines("info"));
    assert!(!lines("warning").contains("ready"), "{}", lines("warning"));
    machine.does("test -f /etc/logrotate.d/karuta");
    // Peers outlive a restart.
    let counts = || machine.in_its_network(|| Client::connect(TRACKER).scrape(&[torrent('a')]));
    let before = counts().unwrap();
    assert_eq!(before[0][2], 1, "the same leecher over both transports");
    machine.does("systemctl restart karuta");
    machine.serves();
    assert_eq!(counts().unwrap(), before);
    // The socket unit is for whoever wants it.
    assert!(!machine.run("systemctl is-enabled karuta.socket").status.success());
}

/// Announces of `aaaaaaaaaaaaaaaaaaaa` alone, not by `-XL`, and near peers first.
const THREE_POLICIES: &str = "\
http: [{ listen: '[::]:6969' }]
udp: [{ listen: '[::]:6969' }]
policies:
- name: clients
  plugin: /usr/share/karuta/plugins/client-approval.wasm
  config: { deny: ['-XL'] }
- name: torrents
  plugin: /usr/share/karuta/plugins/torrent-approval.wasm
  config: { allow: ['6161616161616161616161616161616161616161'] }
- name: near
  plugin: /usr/share/karuta/plugins/subnet.wasm
  config: { ipv4: [24], ipv6: [48] }
state_dir: /var/lib/karuta
";

#[test]
fn a_reload_succeeds_as_the_configuration_deserves() {
    let Some(machine) = installed() else { return };
    assert_eq!(refusals(&machine, Announce::of('b')), [None, None]);
    let process = property(&machine, "MainPID");
    configure(&machine, THREE_POLICIES);
    machine.does("systemctl reload karuta");
    let refused = Some("unapproved torrent".to_owned());
    assert_eq!(refusals(&machine, Announce::of('a')), [None, None]);
    assert_eq!(refusals(&machine, Announce::of('b')), [refused.clone(), refused.clone()]);

    configure(&machine, &THREE_POLICIES.replace("near", "NEAR"));
    assert!(!machine.run("systemctl reload karuta").status.success(), "a wrong name");
    configure(&machine, &THREE_POLICIES.replace("subnet.wasm", "nothing.wasm"));
    assert!(!machine.run("systemctl reload karuta").status.success(), "no such plugin");
    assert_eq!(property(&machine, "MainPID"), process);
    assert_eq!(refusals(&machine, Announce::of('a')), [None, None]);
    assert_eq!(refusals(&machine, Announce::of('b')), [refused.clone(), refused]);

    // A start does not help against a wrong configuration, so there is only one.
    let _ = machine.run("systemctl restart karuta");
    eventually("the service fails", || property(&machine, "ActiveState") == "failed");
    assert_eq!(property(&machine, "ExecMainStatus"), "78");
    assert_eq!(property(&machine, "NRestarts"), "0");
}

#[test]
fn an_edited_configuration_survives_an_upgrade_and_ends_with_a_purge() {
    let Some(machine) = installed() else { return };
    let process = property(&machine, "MainPID");
    configure(&machine, THREE_POLICIES);
    machine.next_version("echo '# News.' >>etc/karuta/config.yaml");
    machine.does(UPGRADE);
    machine.serves();
    assert_ne!(property(&machine, "MainPID"), process);
    assert_eq!(machine.does("cat /etc/karuta/config.yaml"), format!("{THREE_POLICIES}\n"));
    machine.does("grep News /etc/karuta/config.yaml.dpkg-dist");
    assert!(refusals(&machine, Announce::of('b'))[0].is_some());

    machine.does("dpkg --remove karuta");
    assert_eq!(property(&machine, "ActiveState"), "inactive");
    assert!(!machine.run("test -e /usr/bin/karuta").status.success());
    machine.does("test -e /etc/karuta/config.yaml -a -e /var/lib/karuta/connection-id-secret");
    machine.does(UPGRADE);
    machine.serves();
    assert!(refusals(&machine, Announce::of('b'))[0].is_some());

    machine.does("dpkg --purge karuta");
    assert_eq!(machine.does("find /etc /usr /var -path '*karuta*' -not -path '*/journal/*'"), "");
}

#[test]
fn it_installs_where_its_port_is_taken() {
    let Some(machine) = Machine::boot() else { return };
    let other = machine.in_its_network(|| TcpListener::bind("[::]:6969")).expect("a free port");
    machine.does(INSTALL);
    let journal = "journalctl --unit=karuta --grep='cannot listen on .*:6969'";
    eventually("the journal says why", || machine.run(journal).status.success());
    drop(other);
    machine.serves();
}

#[test]
fn it_installs_where_systemd_does_not_run() {
    does_without_systemd("dpkg --install /package.deb && dpkg --purge karuta");
}

#[test]
fn lintian_finds_neither_errors_nor_warnings() {
    lint();
}
