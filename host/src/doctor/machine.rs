//! What the machine grants: buffers, files, IPv6, the time of day.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use nix::sys::resource::{Resource, getrlimit};
use socket2::Type;

use super::clock;
use crate::config::Config;
use crate::finding::Finding;
use crate::frontend::sockets::{self, BUFFER, Listen};

/// Below this many files, connections will have to wait on a busy tracker.
const FEW_FILES: u64 = 65_536;
/// Below this many, hardly anything is left for connections.
const TOO_FEW_FILES: u64 = 1024;

pub fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !config.udp.is_empty() {
        findings.push(buffer(granted()));
    }
    // The tracker raises the soft limit.
    let files = getrlimit(Resource::RLIMIT_NOFILE).map(|(_, hard)| hard);
    findings.extend(files.ok().map(file_limit));
    let http = config.http.iter().map(|http| http.listen);
    let listens = http.chain(config.udp.iter().map(|udp| udp.listen)).any(|one| one.is_ipv6());
    if listens {
        findings.push(ipv6(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()));
    }
    findings.push(time(clock::is_synchronised()));
    findings
}

/// Returns how large a buffer a new socket gets, in bytes.
fn granted() -> std::io::Result<usize> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = sockets::bind(Listen { address, only_v6: false }, Type::DGRAM)?;
    sockets::receive_buffer(&socket)
}

fn buffer(granted: std::io::Result<usize>) -> Finding {
    const SUBJECT: &str = "UDP buffers";
    match granted {
        Ok(granted) if granted >= BUFFER => {
            Finding::ok(SUBJECT, format!("{} KiB, as requested", BUFFER / 1024))
        }
        Ok(granted) => Finding::look(
            SUBJECT,
            format!(
                "{} KiB of {} KiB, so some {} announces can wait for a busy worker",
                granted / 1024,
                BUFFER / 1024,
                // An announce takes 832 bytes of twice the size that is shown.
                2 * granted / 832
            ),
            format!("set net.core.rmem_max and net.core.wmem_max to {BUFFER} with sysctl"),
        ),
        Err(error) => Finding::wrong(
            SUBJECT,
            format!("cannot bind a UDP socket: {error}"),
            "allow this user to open sockets",
        ),
    }
}

fn file_limit(hard: u64) -> Finding {
    const SUBJECT: &str = "open files";
    let advice = "raise the hard limit: LimitNOFILE= of the service, or `ulimit -Hn`";
    match hard {
        FEW_FILES.. => Finding::ok(SUBJECT, format!("at most {hard}")),
        TOO_FEW_FILES.. => {
            Finding::look(SUBJECT, format!("at most {hard} for this user here"), advice)
        }
        _ => Finding::wrong(SUBJECT, format!("at most {hard}, so few connections fit"), advice),
    }
}

fn ipv6(is_there: bool) -> Finding {
    match is_there {
        true => Finding::ok("IPv6", "there is IPv6"),
        false => Finding::look(
            "IPv6",
            "there is none, so `[::]` becomes `0.0.0.0`",
            "switch it on if clients should reach the tracker over IPv6, or listen on IPv4 addresses",
        ),
    }
}

fn time(is_synchronised: Option<bool>) -> Finding {
    const SUBJECT: &str = "clock";
    match is_synchronised {
        Some(true) => Finding::ok(SUBJECT, "synchronised"),
        Some(false) => Finding::look(
            SUBJECT,
            "not synchronised, as the kernel knows; tokens and certificates depend on the time",
            "run a service such as systemd-timesyncd or chrony, or leave it to the host of a container",
        ),
        None => Finding::look(SUBJECT, "cannot ask the kernel", "check the time with `date -u`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn limits_are_judged() {
        for (found, level) in [
            (buffer(Ok(BUFFER)), Level::Ok),
            (buffer(Ok(212_992)), Level::Look),
            (buffer(Err(std::io::Error::other("no"))), Level::Wrong),
            (file_limit(1 << 20), Level::Ok),
            (file_limit(FEW_FILES), Level::Ok),
            (file_limit(20_000), Level::Look),
            (file_limit(1023), Level::Wrong),
            (ipv6(true), Level::Ok),
            (ipv6(false), Level::Look),
            (time(Some(true)), Level::Ok),
            (time(Some(false)), Level::Look),
            (time(None), Level::Look),
        ] {
            assert_eq!(found.level, level, "{found}");
            assert_eq!(found.advice.is_none(), level == Level::Ok, "{found}");
        }
        let said = buffer(Ok(212_992)).to_string();
        assert!(said.contains("208 KiB of 4096 KiB, so some 512 announces"), "{said}");
        assert!(granted().is_ok_and(|granted| granted > 0));
    }
}
