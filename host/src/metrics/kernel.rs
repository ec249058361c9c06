//! What the kernel knows of the tracker's sockets, read from /proc at each scrape.
//!
//! Workers own the sockets, and closing one must end it, so nothing here holds a descriptor.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;

use parking_lot::Mutex;
use prometheus::proto::MetricFamily;

use super::render::{counter, gauge};

/// The sockets of a UDP listener.
pub struct UdpSockets {
    pub listener: SocketAddr,
    /// The size of the smallest buffer for received packets, in bytes.
    pub receive_buffer: usize,
    pub inodes: Vec<u64>,
}

#[derive(Default)]
pub(super) struct Kernel {
    udp: Mutex<Vec<UdpSockets>>,
}

/// The kernel's tables of UDP sockets. A socket is in one of them.
const UDP: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];
const NETSTAT: &str = "/proc/self/net/netstat";
/// The most that is read of a file, in bytes: some 300 000 sockets.
const MOST: u64 = 32 << 20;

impl super::Metrics {
    /// Sets the sockets of the UDP listeners.
    pub fn set_udp_sockets(&self, sockets: Vec<UdpSockets>) {
        *self.kernel.udp.lock() = sockets;
    }

    /// Returns the packets that the kernel has dropped of each UDP listener; none if it does not show
    /// its sockets.
    pub fn kernel_drops(&self) -> Vec<(SocketAddr, u64)> {
        self.kernel.drops()
    }
}

impl Kernel {
    /// Returns the packets dropped of each UDP listener; none if the kernel does not show its sockets.
    fn drops(&self) -> Vec<(SocketAddr, u64)> {
        let udp = self.udp.lock();
        let mut drops: Vec<_> = udp.iter().map(|one| (one.listener, 0)).collect();
        let mut found = 0;
        for table in UDP.iter().filter_map(|path| open(path)) {
            each_socket(table, |inode, dropped| {
                if let Some(at) = udp.iter().position(|one| one.inodes.contains(&inode)) {
                    drops[at].1 += dropped;
                    found += 1;
                }
            });
        }
        if found > 0 { drops } else { Vec::new() }
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let drops = self.drops();
        let drops: Vec<_> = drops.iter().map(|(at, count)| (at.to_string(), *count)).collect();
        let drops = drops.iter().map(|(at, count)| (vec![("listener", &**at)], *count as f64));
        let drops = drops.collect();
        let udp = self.udp.lock();
        let names: Vec<_> = udp.iter().map(|one| one.listener.to_string()).collect();
        let buffers = names.iter().zip(&*udp);
        let buffers =
            buffers.map(|(name, one)| (vec![("listener", &**name)], one.receive_buffer as f64));
        let buffers = buffers.collect();
        let overflows =
            open(NETSTAT).and_then(|file| statistic(file, "TcpExt:", "ListenOverflows"));
        vec![
            gauge(
                "karuta_socket_receive_buffer_bytes",
                "Buffer of each UDP socket for received packets, as granted by the kernel.",
                buffers,
            ),
            counter(
                "karuta_udp_kernel_drops_total",
                "UDP packets that the kernel dropped, because the buffer was full or they were damaged.",
                drops,
            ),
            counter(
                "karuta_tcp_accept_overflows_total",
                "Connections that the kernel dropped because too many waited to be accepted, of all \
                 programs in the network namespace.",
                Vec::from_iter(overflows.map(|count| (vec![], count as f64))),
            ),
        ]
    }
}

fn open(path: &str) -> Option<impl BufRead> {
    Some(BufReader::new(File::open(path).ok()?.take(MOST)))
}

/// Calls `found` with the inode of each socket of a table, and with how many packets it has dropped.
fn each_socket(mut table: impl BufRead, mut found: impl FnMut(u64, u64)) {
    let mut line = String::new();
    while matches!(table.read_line(&mut line), Ok(1..)) {
        let mut fields = line.split_ascii_whitespace();
        let inode = fields.nth(9).and_then(|inode| inode.parse().ok());
        // After the references and the address of the socket.
        let dropped = fields.nth(2).and_then(|dropped| dropped.parse().ok());
        if let (Some(inode), Some(dropped)) = (inode, dropped) {
            found(inode, dropped);
        }
        line.clear();
    }
}

/// Returns a number from pairs of lines: the names, then the values, both after the name of a group.
fn statistic(file: impl BufRead, group: &str, name: &str) -> Option<u64> {
    let mut lines = file.lines().map_while(Result::ok).filter(|line| line.starts_with(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    pairs.find_map(|(key, value)| (key == name).then_some(value))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::fs::MetadataExt as _;

    use karuta_swarm::Totals;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn tables_of_sockets_are_read() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            \x20 371: 00000000:1B39 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 7712 2 0000000000000000 4032\n\
            \x20 372: 00000000:1B39 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7713 2 0000000000000000 0\n\
            \n\
            373: nonsense\n\
            374: a b c d e f g h 7714 2 0 -1\n";
        let mut sockets = Vec::new();
        each_socket(table.as_bytes(), |inode, drops| sockets.push((inode, drops)));
        assert_eq!(sockets, [(7712, 4032), (7713, 0)]);
    }

    #[test]
    fn statistics_are_read_by_name() {
        let text = "Other: a b\nOther: 1 2\nTcpExt: SyncookiesSent ListenOverflows\nTcpExt: 5 17\n";
        let found = |group, name| statistic(text.as_bytes(), group, name);
        assert_eq!(found("TcpExt:", "ListenOverflows"), Some(17));
        assert_eq!(found("Other:", "ListenOverflows"), None);
        assert_eq!(found("IpExt:", "ListenOverflows"), None);
        assert_eq!(
            statistic(&b"TcpExt: ListenOverflows\n"[..], "TcpExt:", "ListenOverflows"),
            None
        );
    }

    #[test]
    fn packets_without_room_are_counted_for_their_listener() {
        let sockets =
            [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap()];
        let metrics = Metrics::new(Totals::default);
        let shown = sockets.each_ref().map(|socket| {
            let file = File::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
            UdpSockets {
                listener: socket.local_addr().unwrap(),
                receive_buffer: 1000,
                inodes: vec![file.metadata().unwrap().ino()],
            }
        });
        metrics.set_udp_sockets(shown.into());
        let dropped = |socket: &UdpSocket| {
            let listener = socket.local_addr().unwrap();
            let series = format!("karuta_udp_kernel_drops_total{{listener=\"{listener}\"}} ");
            let text = metrics.render();
            text.lines()
                .find_map(|line| line.strip_prefix(&series))
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        assert_eq!(sockets.each_ref().map(dropped), [0, 0]);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let full = sockets[0].local_addr().unwrap();
        let mut packets = 0;
        while dropped(&sockets[0]) == 0 {
            sender.send_to(&[0; 1000], full).unwrap();
            packets += 1;
            assert!(packets < 1_000_000);
        }
        assert_eq!(dropped(&sockets[1]), 0);
    }
}
