//! Clients that are in a swarm over IPv4 and over IPv6, told by their peer ids.

use std::hash::{BuildHasher, RandomState};

use super::parts::Parts;
use crate::Role;
use karuta_bittorrent::{Family, PeerId};

/// What a row says of its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub peer_id: PeerId,
    pub role: Role,
}

/// How many rows of either family have the same peer id and role. As far as there are as many of the
/// other family, two of them are one client.
///
/// Anybody may take another's id. So rows of one family are never one client, nor rows of different
/// roles: with one row more, no count is less than before.
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
    /// Stands for the identity. It is keyed, so that nobody can choose two that are alike; with a
    /// million of them, there are two by chance in one swarm of 30 million.
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

    /// To be called for what has entered, once.
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

    /// How many rows of a family there are.
    pub fn rows(&self, family: Family, identity: Identity) -> u32 {
        let [mine, _] = sides(family);
        let alike =
            self.key(identity).and_then(|key| self.alike.find(key, |alike| alike.key == key));
        alike.map_or(0, |alike| alike.rows[mine])
    }

    /// How many clients of a role are counted twice where rows are counted.
    pub fn pairs(&self, role: Role) -> u32 {
        self.pairs[role as usize]
    }

    /// `None` for an id that is none.
    fn key(&self, identity: Identity) -> Option<u64> {
        let Identity { peer_id, role } = identity;
        (peer_id != PeerId::UNKNOWN).then(|| self.hasher.hash_one((peer_id, role as u8)))
    }
}

/// Where a family's number is, and where the other's.
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
    fn an_id_of_zeros_is_nobodys() {
        let mut clients = Clients::default();
        let nobody = Identity { peer_id: PeerId::UNKNOWN, role: Role::Seeder };
        for family in [Family::Ipv4, Family::Ipv6] {
            clients.enter(family, nobody);
        }
        assert_eq!((clients.rows(Family::Ipv4, nobody), clients.pairs(Role::Seeder)), (0, 0));
        clients.leave(Family::Ipv4, nobody);
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
