//! The labels of one family's peers: a column beside their records, also kept sorted if there are
//! many.

use super::growth::{give_back, make_room};
use super::label::{DOWNLOADERS, Label, OPEN, SEEDS};
use super::levels::{Levels, List, SORTED};
use super::ranks::{Key, Ranks};
use super::reaches::Reaches;
use crate::locality::Reach;
use crate::{Locality, Plan};

/// One label per row, and the rows in label order if there are more than [`SORTED`].
#[derive(Debug, Default)]
pub struct Labels {
    column: Vec<Label>,
    /// How many rows have a label.
    labelled: usize,
    /// The downloaders, and the seeds (partial or not).
    ranks: Option<Box<[Ranks; 2]>>,
    /// Kept from the first peer that does not reach everybody until a sweep finds no more.
    reaches: Option<Box<Reaches>>,
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

    /// Returns how far the rows reach; `None`: they all reach everybody.
    pub fn reaches(&self) -> Option<&[Reach]> {
        self.reaches.as_deref().map(Reaches::column)
    }

    pub fn reach(&self, at: usize) -> Reach {
        self.reaches().map_or(Reach::ALL, |reaches| reaches[at])
    }

    /// Returns the downloaders of many rows that reach a level from 1 on.
    fn open<'a>(&'a self, level: usize, ranks: &'a [Ranks; 2]) -> &'a Ranks {
        let open = self.reaches.as_deref().and_then(|reaches| reaches.open(level));
        open.unwrap_or(&ranks[DOWNLOADERS])
    }

    /// Keeps reaches if somebody does not reach everybody, before that row is changed.
    fn keep_reaches(&mut self, reach: Reach) {
        if reach != Reach::ALL {
            let rows = self.column.len();
            let reaches = self.reaches.get_or_insert_with(|| Box::new(Reaches::all(rows)));
            reaches.widen(self.ranks.as_deref(), reach);
        }
    }

    /// Drops the reaches if everybody reaches everybody.
    pub fn forget_reaches(&mut self) {
        if self.reaches.as_deref().is_some_and(Reaches::are_all) {
            self.reaches = None;
        }
    }

    /// Sets how far a downloader reaches.
    pub fn set_reach(&mut self, at: usize, reach: Reach) {
        self.set(at, self.column[at], Some(reach), false);
    }

    /// Returns the key of a row.
    pub fn key(&self, at: usize) -> Key {
        Key::new(self.column[at], at as u32)
    }

    /// Sets the label and the reach of a row; without a reach, it stays.
    pub fn set(&mut self, at: usize, label: Label, reach: Option<Reach>, seed: bool) {
        let (old, old_reach) = (self.column[at], self.reach(at));
        let reach = reach.unwrap_or(old_reach);
        if old == label && old_reach == reach {
            return;
        }
        self.keep_reaches(reach);
        let [before, after] = [old, label].map(|label| Key::new(label, at as u32));
        if let Some(reaches) = &mut self.reaches {
            reaches.set(at, reach);
            if !seed {
                reaches.remove(before, old_reach);
                reaches.insert(after, reach);
            }
        }
        if let Some(ranks) = &mut self.ranks
            && before != after
        {
            let ranks = &mut ranks[usize::from(seed)];
            ranks.remove(before);
            ranks.insert(after);
        }
        self.column[at] = label;
        self.labelled -= usize::from(!old.is_none());
        self.labelled += usize::from(!label.is_none());
    }

    /// Adds a row of a seed. `downloaders` is the number of rows that are not seeds.
    pub fn push(&mut self, label: Label, reach: Option<Reach>, downloaders: usize) {
        let reach = reach.unwrap_or(Reach::NEAREST);
        self.keep_reaches(reach);
        if let Some(reaches) = &mut self.reaches {
            reaches.push(reach);
        }
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
            if let Some(reaches) = &mut self.reaches {
                reaches.rank(downloaders, |at| Key::new(self.column[at], at as u32));
            }
        }
    }

    /// Swaps two different rows; `seeds` says whether each is a seed's.
    pub fn swap(&mut self, [a, b]: [usize; 2], seeds: [bool; 2]) {
        let [label_a, label_b] = [self.column[a], self.column[b]];
        let [of_a, of_b] = [a, b].map(|at| self.reach(at));
        if (label_a, of_a) == (label_b, of_b) {
            return;
        }
        if let Some(reaches) = &mut self.reaches {
            let key = |label, at| Key::new(label, at as u32);
            if !seeds[0] {
                reaches.remove(key(label_a, a), of_a);
            }
            if !seeds[1] {
                reaches.remove(key(label_b, b), of_b);
            }
            reaches.swap(a, b);
            if !seeds[0] {
                reaches.insert(key(label_b, a), of_b);
            }
            if !seeds[1] {
                reaches.insert(key(label_a, b), of_a);
            }
        }
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
        let (key, reach) = (self.key(at), self.reach(at));
        if let Some(ranks) = &mut self.ranks {
            ranks[usize::from(!seed)].remove(key);
            ranks[usize::from(seed)].insert(key);
        }
        if let Some(reaches) = &mut self.reaches {
            if seed {
                reaches.remove(key, reach);
            } else {
                reaches.insert(key, reach);
            }
        }
    }

    /// Removes the last row.
    pub fn pop(&mut self, seed: bool) {
        let Some(last) = self.column.len().checked_sub(1) else {
            return;
        };
        let (key, reach) = (self.key(last), self.reach(last));
        if let Some(reaches) = &mut self.reaches {
            if !seed {
                reaches.remove(key, reach);
            }
            if last <= SORTED / 2 {
                reaches.forget_ranks();
            }
            reaches.pop();
        }
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
    /// A set of rows for each class, and how far they reach.
    Level(&'a mut Room, Option<&'a [Reach]>),
    /// Ranges of rows that share a prefix, filled on demand.
    Ranked {
        labels: &'a Labels,
        ranks: &'a [Ranks; 2],
        label: Label,
        known: [[Option<Ends>; Plan::MOST_LEVELS]; 2],
        /// The announcing peer's row, if it is one of these downloaders.
        me: Option<usize>,
        /// The level that was last listed.
        level: usize,
        /// The level up to which those who reach beyond it were last counted, and their ranks.
        counted: Option<(usize, Ends)>,
    },
}

type Ends = (u32, u32);

/// Room for the classes of few rows.
pub struct Room {
    levels: Levels,
    /// The rows of the class that was last listed, up to `end`.
    class: List,
    end: usize,
}

/// The ranks of a class: its rows of lower labels, and those of higher ones.
type Spans = [Ends; 2];

/// Those of a class who reach beyond a level.
pub struct Beyond(Spans);

impl Beyond {
    pub fn count(&self) -> u32 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }
}

impl Room {
    const EMPTY: Self = Self { levels: Levels::EMPTY, class: [0; _], end: 0 };

    /// Returns the places in the class of the rows that reach `beyond` a level.
    fn beyond(&self, reaches: Option<&[Reach]>, beyond: usize) -> impl Iterator<Item = u32> {
        let reaches_beyond = move |row: &u8| {
            reaches.is_none_or(|reaches| reaches[usize::from(*row)].covers(beyond + 1))
        };
        let rows = (0..).zip(&self.class[..self.end]);
        rows.filter(move |(_, row)| reaches_beyond(row)).map(|(place, _)| place)
    }
}

/// Returns the ranks of the rows that are as near as a level says.
fn spans(ranks: &Ranks, label: Label, level: usize, plan: &Plan) -> Spans {
    let within = |level: usize| {
        let (first, end) = Key::bounds(label, plan.prefix(level));
        ranks.range(first, end)
    };
    let (start, end) = if level == plan.levels() { (0, ranks.len()) } else { within(level) };
    let (from, to) = level.checked_sub(1).map_or((end, end), within);
    [(start, from), (to, end)]
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
                Some(ranks) => By::Ranked {
                    labels,
                    ranks,
                    label,
                    known: Default::default(),
                    me: me.filter(|me| *me < downloaders),
                    level: 0,
                    counted: None,
                },
                None => {
                    let room = room.insert(Room::EMPTY);
                    let (column, reaches) = (Some(labels.column()), labels.reaches());
                    room.levels.set(column, reaches, rows, downloaders, locality);
                    if let Some(me) = me {
                        room.levels.leave_out(me);
                    }
                    By::Level(room, labels.reaches())
                }
            },
        };
        Self { by, downloaders: downloaders as u32, len: rows as u32 }
    }

    fn all(&self, role: usize) -> Ends {
        match &self.by {
            By::Ranked { ranks, .. } => (0, ranks[role].len()),
            _ if role == SEEDS => (self.downloaders, self.len),
            _ => (0, self.downloaders),
        }
    }

    /// Returns the ranks of a class (role and level) as two ranges.
    pub fn class(&mut self, role: usize, level: usize, plan: &Plan) -> Spans {
        match &mut self.by {
            By::Row if level == plan.levels() => [self.all(role), (0, 0)],
            By::Row => [(0, 0); 2],
            By::Level(room, _) => [(0, room.levels.count(role, level) as u32), (0, 0)],
            By::Ranked { labels, ranks, label, .. } if role == OPEN => {
                spans(labels.open(level, ranks), *label, level, plan)
            }
            By::Ranked { .. } => {
                let (start, end) = self.within(role, level, plan);
                let nearer = level.checked_sub(1).map(|nearer| self.within(role, nearer, plan));
                let (from, to) = nearer.unwrap_or((end, end));
                [(start, from), (to, end)]
            }
        }
    }

    /// Returns how many others up to `level`, which is not far, are seeds, or are given to peers
    /// beyond it.
    pub fn usable(&mut self, level: usize, plan: &Plan) -> usize {
        match &mut self.by {
            By::Row => 0,
            By::Level(room, reaches) => room.levels.usable(level, *reaches),
            By::Ranked { labels, ranks, label, me, counted, .. } => {
                let (first, end) = Key::bounds(*label, plan.prefix(level));
                let (first, end) = labels.open(level + 1, ranks).range(first, end);
                *counted = Some((level, (first, end)));
                let is_me = me.is_some_and(|me| labels.reach(me).covers(level + 1));
                let others = (end - first) as usize - usize::from(is_me);
                let (first, end) = self.within(SEEDS, level, plan);
                others + (end - first) as usize
            }
        }
    }

    /// Returns who of the downloaders of a level reaches `beyond` another one, the announcing peer
    /// included, for [`Self::rank_beyond`]. Their class is the one that was last listed.
    pub fn beyond(&self, level: usize, beyond: usize, plan: &Plan) -> Beyond {
        Beyond(match &self.by {
            By::Row => [(0, 0); 2],
            By::Level(room, reaches) => [(0, room.beyond(*reaches, beyond).count() as u32), (0, 0)],
            // Those that were counted are all of this level, if it is the nearest.
            By::Ranked { counted: Some((of, ends)), .. } if (level, beyond) == (0, *of) => {
                [*ends, (0, 0)]
            }
            By::Ranked { labels, ranks, label, .. } => {
                spans(labels.open(beyond + 1, ranks), *label, level, plan)
            }
        })
    }

    /// Returns the rank in its class (role and level) of one of those who reach `beyond` a level.
    pub fn rank_beyond(
        &self,
        (role, level): (usize, usize),
        beyond: usize,
        of: &Beyond,
        nth: u32,
    ) -> Option<u32> {
        match &self.by {
            By::Row => None,
            By::Level(room, reaches) => room.beyond(*reaches, beyond).nth(nth as usize),
            By::Ranked { labels, ranks, .. } => {
                let Beyond([(start, from), (to, _)]) = *of;
                let first = from - start;
                let rank = if nth < first { start + nth } else { to + (nth - first) };
                let key = labels.key(labels.open(beyond + 1, ranks).row(rank)).number();
                let of_class = if role == OPEN { labels.open(level, ranks) } else { &ranks[role] };
                Some(of_class.rank(key))
            }
        }
    }

    /// Returns the ranks of the rows of a role up to `level`.
    fn within(&mut self, role: usize, level: usize, plan: &Plan) -> Ends {
        match &mut self.by {
            By::Ranked { ranks, label, known, .. } if level < plan.levels() => *known[role][level]
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
            By::Row | By::Level(..) => None,
        }
    }

    /// Prepares a class for [`Ranking::row`].
    pub fn list(&mut self, role: usize, level: usize) {
        match &mut self.by {
            By::Row => {}
            By::Level(room, _) => room.end = room.levels.list(role, level, &mut room.class, 0),
            By::Ranked { level: listed, .. } => *listed = level,
        }
    }

    /// Returns the row of a rank in the class that was last listed.
    pub fn row(&self, role: usize, rank: u32) -> usize {
        match &self.by {
            By::Row => rank as usize,
            By::Level(room, _) => room.class[rank as usize].into(),
            By::Ranked { labels, ranks, level, .. } if role == OPEN => {
                labels.open(*level, ranks).row(rank)
            }
            By::Ranked { ranks, .. } => ranks[role].row(rank),
        }
    }

    /// Returns the rows of the class that was last listed by rank, if they are kept.
    pub fn listed(&self) -> Option<&[u8]> {
        match &self.by {
            By::Level(room, _) => Some(&room.class[..room.end]),
            By::Row | By::Ranked { .. } => None,
        }
    }
}
