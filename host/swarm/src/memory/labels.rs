//! The labels of one family's peers: a column beside their records, also kept sorted if there are
//! many.

use super::growth::{give_back, make_room};
use super::label::{DOWNLOADERS, Label};
use super::levels::{Levels, List, SORTED};
use super::ranks::{Key, Ranks};
use crate::{Locality, Plan};

/// One label per row, and the rows in label order if there are more than [`SORTED`].
#[derive(Debug, Default)]
pub struct Labels {
    column: Vec<Label>,
    /// How many rows have a label.
    labelled: usize,
    /// The downloaders, and the seeds (partial or not).
    ranks: Option<Box<[Ranks; 2]>>,
}

impl Labels {
    /// Makes a column of rows without labels.
    pub fn none(rows: usize) -> Self {
        Self { column: vec![Label::NONE; rows], ..Self::default() }
    }

    pub fn column(&self) -> &[Label] {
        &self.column
    }

    pub fn ranks(&self) -> Option<&[Ranks; 2]> {
        self.ranks.as_deref()
    }

    pub fn are_none(&self) -> bool {
        self.labelled == 0
    }

    /// Returns the key of a row.
    pub fn key(&self, at: usize) -> Key {
        Key::new(self.column[at], at as u32)
    }

    pub fn set(&mut self, at: usize, label: Label, seed: bool) {
        let old = self.column[at];
        if old == label {
            return;
        }
        if let Some(ranks) = &mut self.ranks {
            let ranks = &mut ranks[usize::from(seed)];
            ranks.remove(Key::new(old, at as u32));
            ranks.insert(Key::new(label, at as u32));
        }
        self.column[at] = label;
        self.labelled -= usize::from(!old.is_none());
        self.labelled += usize::from(!label.is_none());
    }

    /// Adds a row of a seed. `downloaders` is the number of rows that are not seeds.
    pub fn push(&mut self, label: Label, downloaders: usize) {
        make_room(&mut self.column);
        self.column.push(label);
        self.labelled += usize::from(!label.is_none());
        let last = self.column.len() - 1;
        match &mut self.ranks {
            Some(ranks) => ranks[1].insert(Key::new(label, last as u32)),
            None => self.rank_if_many(downloaders),
        }
    }

    /// Sorts the rows if they are many.
    pub fn rank_if_many(&mut self, downloaders: usize) {
        if self.column.len() > SORTED && self.ranks.is_none() {
            let keys = |range: std::ops::Range<usize>| {
                Ranks::of(range.map(|at| Key::new(self.column[at], at as u32)).collect())
            };
            let ranks = [keys(0..downloaders), keys(downloaders..self.column.len())];
            self.ranks = Some(Box::new(ranks));
        }
    }

    /// Swaps two different rows; `seeds` says whether each is a seed's.
    pub fn swap(&mut self, [a, b]: [usize; 2], seeds: [bool; 2]) {
        let [label_a, label_b] = [self.column[a], self.column[b]];
        if label_a == label_b {
            return;
        }
        self.column.swap(a, b);
        if let Some(ranks) = &mut self.ranks {
            let [role_a, role_b] = seeds.map(usize::from);
            let [a, b] = [a as u32, b as u32];
            ranks[role_a].remove(Key::new(label_a, a));
            ranks[role_b].remove(Key::new(label_b, b));
            ranks[role_a].insert(Key::new(label_b, a));
            ranks[role_b].insert(Key::new(label_a, b));
        }
    }

    /// Changes the role of a row to seed or downloader.
    pub fn change_role(&mut self, at: usize, seed: bool) {
        let key = self.key(at);
        if let Some(ranks) = &mut self.ranks {
            ranks[usize::from(!seed)].remove(key);
            ranks[usize::from(seed)].insert(key);
        }
    }

    /// Removes the last row.
    pub fn pop(&mut self, seed: bool) {
        let Some(last) = self.column.len().checked_sub(1) else {
            return;
        };
        let key = self.key(last);
        if last <= SORTED / 2 {
            self.ranks = None;
        } else if let Some(ranks) = &mut self.ranks {
            ranks[usize::from(seed)].remove(key);
        }
        self.labelled -= usize::from(!self.column[last].is_none());
        self.column.pop();
        give_back(&mut self.column);
    }
}

impl Key {
    /// Returns the smallest key of the labels that share the first `bits` with `label`, and a key
    /// that is greater than all of theirs.
    pub fn bounds(label: Label, bits: u32) -> (u128, u128) {
        let plan = u128::from(label.plan) << 64;
        let rest = u64::MAX.checked_shr(bits).unwrap_or(0);
        let first = plan | u128::from(label.value & !rest);
        let last = plan | u128::from(label.value | rest);
        (first << 32, (last + 1) << 32)
    }
}

/// The peers of one family, ranked by a plan, by role.
pub struct Ranking<'a> {
    by: By<'a>,
    downloaders: u32,
    len: u32,
}

#[expect(clippy::large_enum_variant, reason = "an announce has two of them, on its stack")]
enum By<'a> {
    /// The rows as they are; all are far.
    Row,
    /// A set of rows for each class.
    Level(&'a mut Room),
    /// Ranges of rows that share a prefix, filled on demand.
    Ranked { ranks: &'a [Ranks; 2], label: Label, known: [[Option<Ends>; Plan::MOST_LEVELS]; 2] },
}

type Ends = (u32, u32);

/// Room for the classes of few rows.
pub struct Room {
    levels: Levels,
    /// The rows of the class that was last listed, up to `end`.
    class: List,
    end: usize,
}

impl Room {
    const EMPTY: Self = Self { levels: Levels::EMPTY, class: [0; _], end: 0 };
}

impl<'a> Ranking<'a> {
    /// Ranks nobody.
    pub const NONE: Self = Self { by: By::Row, downloaders: 0, len: 0 };

    /// Ranks the rows; `me` is the row of the announcing peer, if it is in this family.
    pub fn of(
        labels: Option<&'a Labels>,
        rows: usize,
        downloaders: usize,
        locality: &Locality,
        me: Option<usize>,
        room: &'a mut Option<Room>,
    ) -> Self {
        let label = Label::of(Some(locality));
        let by = match labels {
            None => By::Row,
            Some(labels) => match labels.ranks() {
                Some(ranks) => By::Ranked { ranks, label, known: Default::default() },
                None => {
                    let room = room.insert(Room::EMPTY);
                    room.levels.set(Some(labels.column()), rows, downloaders, locality);
                    if let Some(me) = me {
                        room.levels.leave_out(me);
                    }
                    By::Level(room)
                }
            },
        };
        Self { by, downloaders: downloaders as u32, len: rows as u32 }
    }

    fn all(&self, role: usize) -> Ends {
        match &self.by {
            By::Ranked { ranks, .. } => (0, ranks[role].len()),
            _ if role == DOWNLOADERS => (0, self.downloaders),
            _ => (self.downloaders, self.len),
        }
    }

    /// Returns the ranks of a class (role and level) as two ranges.
    pub fn class(&mut self, role: usize, level: usize, plan: &Plan) -> [Ends; 2] {
        match &mut self.by {
            By::Row if level == plan.levels() => [self.all(role), (0, 0)],
            By::Row => [(0, 0); 2],
            By::Level(room) => [(0, room.levels.count(role, level) as u32), (0, 0)],
            By::Ranked { .. } => {
                let (start, end) = self.within(role, level, plan);
                let nearer = level.checked_sub(1).map(|nearer| self.within(role, nearer, plan));
                let (from, to) = nearer.unwrap_or((end, end));
                [(start, from), (to, end)]
            }
        }
    }

    /// Returns the ranks of the rows of a role up to `level`.
    fn within(&mut self, role: usize, level: usize, plan: &Plan) -> Ends {
        match &mut self.by {
            By::Ranked { ranks, label, known } if level < plan.levels() => *known[role][level]
                .get_or_insert_with(|| {
                    let (first, end) = Key::bounds(*label, plan.prefix(level));
                    ranks[role].range(first, end)
                }),
            _ => self.all(role),
        }
    }

    /// Returns the rank of the announcing peer's row within its role, if it has one.
    pub fn rank(&self, row: usize, labels: &Labels, role: usize) -> Option<u32> {
        match &self.by {
            By::Ranked { ranks, .. } => Some(ranks[role].rank(labels.key(row).number())),
            By::Row | By::Level(_) => None,
        }
    }

    /// Prepares a class for [`Ranking::row`].
    pub fn list(&mut self, role: usize, level: usize) {
        if let By::Level(room) = &mut self.by {
            room.end = room.levels.list(role, level, &mut room.class, 0);
        }
    }

    /// Returns the row of a rank in the class that was last listed.
    pub fn row(&self, role: usize, rank: u32) -> usize {
        match &self.by {
            By::Row => rank as usize,
            By::Level(room) => room.class[rank as usize].into(),
            By::Ranked { ranks, .. } => ranks[role].row(rank),
        }
    }

    /// Returns the rows of the class that was last listed by rank, if they are kept.
    pub fn listed(&self) -> Option<&[u8]> {
        match &self.by {
            By::Level(room) => Some(&room.class[..room.end]),
            By::Row | By::Ranked { .. } => None,
        }
    }
}
