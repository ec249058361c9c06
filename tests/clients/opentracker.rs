//! Exports equal those of opentracker, fed with the same swarms.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use flate2::read::GzDecoder;
use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, bencode, eventually, exchange};
use nix::unistd::geteuid;
use tempfile::TempDir;

use super::client::skip;

/// How many torrents there are.
const TORRENTS: u8 = 60;

struct Opentracker {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Opentracker {
    /// Starts it with a list of the torrents, because Debian's needs one.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listed = (0..TORRENTS).map(|torrent| hex(info_hash(torrent)) + "\n");
        fs::write(folder.path().join("torrents"), listed.collect::<String>()).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.unwrap();
        let root = folder.path().display();
        // Only root can make the folder its root.
        let list = match geteuid().is_root() {
            true => "/torrents".to_owned(),
            false => format!("{root}/torrents"),
        };
        let config = format!(
            "listen.tcp_udp {address}\naccess.stats 127.0.0.1\n\
             access.whitelist {list}\ntracker.rootdir {root}\n"
        );
        let file = folder.path().join("opentracker.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("opentracker");
        command.arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("opentracker starts");
        eventually("opentracker listens", || TcpStream::connect(address).is_ok());
        Self { child, address, _folder: folder }
    }

    fn export(&self, format: &str) -> Vec<u8> {
        let path = format!("/stats?mode=tpbs&format={format}");
        let body = get(self.address, &path);
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("it compresses what it exports");
        plain
    }
}

impl Drop for Opentracker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
    exchange(address, head.as_bytes()).body
}

fn info_hash(torrent: u8) -> [u8; 20] {
    // Bytes that are escaped, and bytes that are not.
    std::array::from_fn(|at| torrent.wrapping_mul(37).wrapping_add(at as u8 * 13))
}

fn hex(bytes: [u8; 20]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the records of an export, sorted.
fn sorted(format: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records: Vec<_> = match format {
        "bin" => bytes.chunks(28).map(<[u8]>::to_vec).collect(),
        // It leaves other characters as they are.
        "url" => bytes.split_inclusive(|byte| *byte == b'\n').map(unescaped).collect(),
        _ => bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(),
    };
    records.sort();
    records
}

/// Returns a line without its escapes.
fn unescaped(line: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::new(), line);
    loop {
        rest = match rest {
            [b'%', high, low, after @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                plain.push(u8::from_str_radix(digits, 16).unwrap());
                after
            }
            [byte, after @ ..] => {
                plain.push(*byte);
                after
            }
            [] => return plain,
        };
    }
}

#[test]
fn exports_are_those_of_opentracker() {
    if Command::new("opentracker").arg("-h").output().is_err() {
        return skip("opentracker is missing; `make test` installs it on Debian");
    }
    let (daemon, other) = (Daemon::start(""), Opentracker::start());
    for torrent in 0..TORRENTS {
        for port in 1..=u16::from(torrent % 7) + 1 {
            let peer = Announce::of_hash(info_hash(torrent)).port(port);
            for tracker in [daemon.http, other.address] {
                peer.http(tracker).unwrap();
                if port.is_multiple_of(3) {
                    peer.clone().seeder().event("completed").http(tracker).unwrap();
                } else if port.is_multiple_of(2) {
                    peer.clone().seeder().http(tracker).unwrap();
                }
            }
        }
    }
    let export = |format: &str| {
        let head = format!("GET /api/export?format={format} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        exchange(daemon.admin, head.as_bytes()).body
    };
    for format in ["txt", "txtp", "bin", "url"] {
        let (ours, theirs) = (export(format), other.export(format));
        assert_eq!(sorted(format, &ours).len(), usize::from(TORRENTS), "{format}");
        assert!(sorted(format, &ours) == sorted(format, &theirs), "{format}");
    }
    let (ours, theirs) = (export("ben"), other.export("ben"));
    assert_eq!(bencode::read(&ours), bencode::read(&theirs));
    assert!(ours == theirs, "both are sorted");
}
