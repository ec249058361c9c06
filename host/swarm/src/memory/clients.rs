//! Clients that are in a swarm over both IPv4 and IPv6, recognised by their peer ids.

use std::hash::{BuildHasher, RandomState};

use super::parts::Parts;
use crate::Role;
use karuta_bittorrent::{Family, PeerId};

/// The identity of a row's client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub peer_id: PeerId,
    pub role: Role,
}

/// Counts the rows of each family with the same peer id and role. Each pair of an IPv4 row and an
/// IPv6 row is one client.
///
/// Clients can copy the id of another. So rows of one family are never the same client, nor are
/// rows of different roles: an additional row never lowers a count.
#[derive(Debug, Default)]
pub struct Clients {
    hasher: RandomState,
    alike: Parts<Alike>,
    /// By role.
    pairs: [u32; 3],
}

/// Rows of one identity, by family.
#[derive(Debug)]
struct Alike {
    /// A keyed hash of the identity, so that clients cannot choose colliding ones. With a million
    /// identities, one swarm in 30 million has a collision by chance.
    key: u64,
    rows: [u32; 2],
}

impl Clients {
    pub fn enter(&mut self, family: Family, identity: Identity) {
        let Some(key) = self.key(identity) else { return };
        let [mine, other] = sides(family);
        if let Some(Alike { rows, .. }) = self.alike.find_mut(key, |alike| alike.key == key) {
            rows[mine] += 1;
            self.pairs[identity.role as usize] += u32::from(rows[mine] <= rows[other]);
        } else {
            let mut rows = [0; 2];
            rows[mine] = 1;
            self.alike.insert(Alike { key, rows }, |alike| alike.key);
        }
    }

    /// Must be called once for each row that entered.
    pub fn leave(&mut self, family: Family, identity: Identity) {
        let Some(key) = self.key(identity) else { return };
        let [mine, other] = sides(family);
        let is = |alike: &Alike| alike.key == key;
        let Some(Alike { rows, .. }) = self.alike.find_mut(key, is) else { return };
        self.pairs[identity.role as usize] -= u32::from(rows[mine] <= rows[other]);
        rows[mine] -= 1;
        if *rows == [0; 2] {
            self.alike.remove(key, is, |alike| alike.key);
        }
    }

    /// Returns the number of rows in a family.
    pub fn rows(&self, family: Family, identity: Identity) -> u32 {
        let [mine, _] = sides(family);
        let alike =
            self.key(identity).and_then(|key| self.alike.find(key, |alike| alike.key == key));
        alike.map_or(0, |alike| alike.rows[mine])
    }

    /// Returns how many clients of a role would be counted twice if rows were counted.
    pub fn pairs(&self, role: Role) -> u32 {
        self.pairs[role as usize]
    }

    /// Returns `None` for an unknown id.
    fn key(&self, identity: Identity) -> Option<u64> {
        let Identity { peer_id, role } = identity;
        (peer_id != PeerId::UNKNOWN).then(|| self.hasher.hash_one((peer_id, role as u8)))
    }
}

/// Returns the index of a family, and that of the other.
fn sides(family: Family) -> [usize; 2] {
    match family {
        Family::Ipv4 => [0, 1],
        Family::Ipv6 => [1, 0],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_of_zeros_is_not_entered() {
        let mut clients = Clients::default();
        let unknown = Identity { peer_id: PeerId::UNKNOWN, role: Role::Seeder };
        for family in [Family::Ipv4, Family::Ipv6] {
            clients.enter(family, unknown);
        }
        assert_eq!((clients.rows(Family::Ipv4, unknown), clients.pairs(Role::Seeder)), (0, 0));
        clients.leave(Family::Ipv4, unknown);
    }

    proptest! {
        #[test]
        fn pairs_are_what_both_families_have(
            steps in prop::collection::vec((0..2_usize, 0..4_u8, 0..3_usize, any::<bool>()), 0..200),
        ) {
            let roles = [Role::Downloader, Role::PartialSeed, Role::Seeder];
            let families = [Family::Ipv4, Family::Ipv6];
            let mut clients = Clients::default();
            let mut rows = [[[0_u32; 3]; 5]; 2];
            for (family, id, role, enters) in steps {
                let identity = Identity { peer_id: PeerId([id + 1; 20]), role: roles[role] };
                let count = &mut rows[family][usize::from(id)][role];
                if enters {
                    clients.enter(families[family], identity);
                    *count += 1;
                } else if *count > 0 {
                    clients.leave(families[family], identity);
                    *count -= 1;
                }
                prop_assert_eq!(clients.rows(families[family], identity), *count);
                for role in 0..3 {
                    let pairs = (0..5).map(|id| rows[0][id][role].min(rows[1][id][role]));
                    prop_assert_eq!(clients.pairs(roles[role]), pairs.sum::<u32>());
                }
            }
        }
    }
}
