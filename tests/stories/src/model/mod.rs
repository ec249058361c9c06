//! A release without clients: a small model of the tracker's rules ([`rules`]), and one of how a file
//! spreads among hosts that know each other ([`transfer`]). A run takes milliseconds, so settings can
//! be searched; `datacenter.md` holds it against runs with real clients.

pub mod rules;
pub mod transfer;

/// Racks of hosts, and one host outside of them that has the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub racks: usize,
    /// Hosts per rack.
    pub hosts: usize,
}

/// 8 racks of 4.
pub const EIGHT_RACKS: Shape = Shape { racks: 8, hosts: 4 };
/// 4 racks of 16.
pub const FOUR_RACKS: Shape = Shape { racks: 4, hosts: 16 };

/// The host that has the file; those of the racks follow, rack by rack.
pub const ORIGIN: usize = 0;

impl Shape {
    /// Returns the number of hosts, with the origin.
    pub fn all_hosts(self) -> usize {
        1 + self.racks * self.hosts
    }

    /// Returns the rack of a host, from 1; the origin's is 0.
    pub fn rack(self, host: usize) -> usize {
        if host == ORIGIN { 0 } else { 1 + (host - 1) / self.hosts }
    }
}
