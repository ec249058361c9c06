//! The series that plugins define.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::{Cause, Hook, error_index, many};

/// The maximum number of series per policy.
const MAX_SERIES: usize = 64;
/// The maximum length of a name, in bytes.
const MAX_NAME: usize = 64;
/// The maximum length of a help text, in bytes. Longer texts are cut.
const MAX_HELP: usize = 256;
/// How the name of a counter ends, by Prometheus' conventions.
const TOTAL: &str = "_total";
/// The help text of a series without one.
const NO_HELP: &str = "Of the policy's own.";
/// The number of cells of a counter. With several cells, workers rarely write to the same one.
const CELLS: usize = 8;

/// The series of all policies. A policy's series exist as long as something holds them. Plugins do,
/// so that one version of a policy hands its series to the next.
#[derive(Default)]
pub struct Registry(Mutex<Vec<Weak<Series>>>);

/// The series of one policy, shared by its instances.
pub struct Series {
    policy: Arc<str>,
    /// Whether the series are exported.
    shown: bool,
    registry: Arc<Registry>,
    /// The id of a series is its position in this list.
    known: RwLock<Vec<One>>,
    /// Failed calls while an instance was created or given data, which can happen on any thread.
    calls: Vec<AtomicU64>,
    errors: Vec<AtomicU64>,
}

struct One {
    name: String,
    help: String,
    value: Value,
}

enum Value {
    Counter(Box<[Cell; CELLS]>),
    /// The bits of an `f64`.
    Gauge(AtomicU64),
}

/// A counter on its own cache line.
#[derive(Default)]
#[repr(align(64))]
struct Cell(AtomicU64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
}

/// One metric name, with its value for each policy.
pub struct Family {
    pub kind: Kind,
    pub help: String,
    /// Each policy with its value.
    pub values: Vec<(Arc<str>, f64)>,
}

/// Why a series cannot be registered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error(
        "a series name is a lower-case letter followed by up to {} of a to z, 0 to 9 and _",
        MAX_NAME - 1
    )]
    Name,
    #[error("the policy `{policy}` already has a {kind} of that name")]
    Kind { policy: Arc<str>, kind: &'static str },
    #[error("a policy may have at most {MAX_SERIES} series")]
    Full,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

impl Registry {
    /// Returns the exported series of a policy; creates an empty set if none are held.
    pub fn of(self: &Arc<Self>, policy: &Arc<str>) -> Arc<Series> {
        let mut all = self.0.lock();
        all.retain(|series| series.strong_count() > 0);
        let known = all
            .iter()
            .filter_map(Weak::upgrade)
            .find(|series| series.shown && series.policy == *policy);
        known.unwrap_or_else(|| {
            let series = Arc::new(Series::new(self, policy, true));
            all.push(Arc::downgrade(&series));
            series
        })
    }

    /// Returns series with a policy's name that are not exported, for trials.
    pub fn hidden(self: &Arc<Self>, policy: &Arc<str>) -> Arc<Series> {
        let series = Arc::new(Series::new(self, policy, false));
        let mut all = self.0.lock();
        all.retain(|series| series.strong_count() > 0);
        all.push(Arc::downgrade(&series));
        series
    }

    /// Returns the exported series of a policy, if something holds them.
    pub(super) fn find(&self, policy: &str) -> Option<Arc<Series>> {
        let all = self.0.lock();
        let mut held = all.iter().filter_map(Weak::upgrade);
        held.find(|series| series.shown && &*series.policy == policy)
    }

    /// Returns everything that is exported, by name.
    pub fn families(&self) -> BTreeMap<String, Family> {
        let mut families = BTreeMap::new();
        for series in self.0.lock().iter().filter_map(Weak::upgrade).filter(|one| one.shown) {
            for one in series.known.read().iter() {
                let family = families.entry(one.name.clone()).or_insert_with(|| Family {
                    kind: one.value.kind(),
                    help: one.help.clone(),
                    values: Vec::new(),
                });
                family.values.push((series.policy.clone(), one.value.get()));
            }
        }
        families
    }
}

impl Series {
    fn new(registry: &Arc<Registry>, policy: &Arc<str>, shown: bool) -> Self {
        Self {
            policy: policy.clone(),
            shown,
            registry: registry.clone(),
            known: RwLock::default(),
            calls: many(Hook::ALL.len(), AtomicU64::default),
            errors: many(Hook::ALL.len() * Cause::ALL.len(), AtomicU64::default),
        }
    }

    /// Counts a call that did not return, or an `init` that returned an error.
    pub fn failed(&self, hook: Hook, cause: Cause) {
        self.refused(hook);
        self.errors[error_index(hook, cause)].fetch_add(1, Relaxed);
    }

    /// Counts a call that returned an error.
    pub fn refused(&self, hook: Hook) {
        self.calls[hook as usize].fetch_add(1, Relaxed);
    }

    /// Returns the number of failed calls.
    pub(super) fn failures(&self, hook: Hook) -> u64 {
        self.calls[hook as usize].load(Relaxed)
    }

    pub(super) fn errors(&self, hook: Hook, cause: Cause) -> u64 {
        self.errors[error_index(hook, cause)].load(Relaxed)
    }

    /// Returns the id of a series; creates the series if it does not exist. The name of a counter
    /// ends in `_total`, which is appended if it is missing.
    pub fn register(&self, kind: Kind, name: &str, help: &str) -> Result<u32, Refused> {
        let full = match kind {
            Kind::Counter if !name.ends_with(TOTAL) => &*format!("{name}{TOTAL}"),
            _ => name,
        };
        if let Some(id) = self.find(kind, full)? {
            return Ok(id);
        }
        let mut rest = name.bytes();
        if name.len() > MAX_NAME
            || !rest.next().is_some_and(|first| first.is_ascii_lowercase())
            || !rest.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        {
            return Err(Refused::Name);
        }
        // Series are created only under this lock, so no other thread can give the name another
        // kind.
        let all = self.registry.0.lock();
        for series in all.iter().filter_map(Weak::upgrade) {
            let found = series.find(kind, full)?;
            if std::ptr::eq(&*series, self)
                && let Some(id) = found
            {
                return Ok(id);
            }
        }
        let mut known = self.known.write();
        if known.len() >= MAX_SERIES {
            return Err(Refused::Full);
        }
        known.push(One {
            name: full.to_owned(),
            help: match help {
                "" => NO_HELP.to_owned(),
                help => help[..help.floor_char_boundary(MAX_HELP)].to_owned(),
            },
            value: match kind {
                Kind::Counter => Value::Counter(Box::default()),
                Kind::Gauge => Value::Gauge(AtomicU64::new(0)),
            },
        });
        Ok(known.len() as u32 - 1)
    }

    fn find(&self, kind: Kind, name: &str) -> Result<Option<u32>, Refused> {
        let known = self.known.read();
        let Some(at) = known.iter().position(|one| one.name == name) else { return Ok(None) };
        let is = known[at].value.kind();
        if is != kind {
            return Err(Refused::Kind { policy: self.policy.clone(), kind: is.name() });
        }
        Ok(Some(at as u32))
    }

    /// Adds to a counter. Does nothing if the id is not a counter's. `worker` selects the cell.
    pub fn add(&self, id: u32, delta: u64, worker: u32) {
        if let Some(One { value: Value::Counter(cells), .. }) = self.known.read().get(id as usize) {
            cells[worker as usize % CELLS].0.fetch_add(delta, Relaxed);
        }
    }

    /// Sets a gauge. Does nothing if the id is not a gauge's.
    pub fn set(&self, id: u32, value: f64) {
        if let Some(One { value: Value::Gauge(bits), .. }) = self.known.read().get(id as usize) {
            bits.store(value.to_bits(), Relaxed);
        }
    }
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
        }
    }

    fn get(&self) -> f64 {
        match self {
            Self::Counter(cells) => {
                let sum =
                    cells.iter().fold(0_u64, |sum, cell| sum.wrapping_add(cell.0.load(Relaxed)));
                sum as f64
            }
            Self::Gauge(bits) => f64::from_bits(bits.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(registry: &Registry) -> Vec<String> {
        let families = registry.families();
        let lines = families.into_iter().flat_map(|(name, family)| {
            let kind = family.kind.name();
            let line = move |(policy, value)| format!("{kind} {name} {policy} {value}");
            family.values.into_iter().map(line)
        });
        lines.collect()
    }

    #[test]
    fn counters_add_up_and_gauges_show_the_last() {
        let registry = Arc::new(Registry::default());
        let (a, b) = (registry.of(&"a".into()), registry.of(&"b".into()));
        let hits = a.register(Kind::Counter, "hits", "How often.").unwrap();
        let heat = a.register(Kind::Gauge, "heat", "").unwrap();
        assert_eq!(registry.of(&"a".into()).register(Kind::Counter, "hits", "Other."), Ok(hits));
        for worker in 0..20 {
            a.add(hits, 2, worker);
            a.set(heat, f64::from(worker) / 2.0);
        }
        let other = b.register(Kind::Counter, "hits", "").unwrap();
        b.add(other, 1, 0);
        // Ids that do not exist, or that are of the other kind.
        a.add(heat, 1, 0);
        a.add(99, 1, 0);
        a.set(hits, 1.0);
        a.set(99, 1.0);
        assert_eq!(
            shown(&registry),
            ["gauge heat a 9.5", "counter hits_total a 40", "counter hits_total b 1"]
        );
        assert_eq!(registry.families()["hits_total"].help, "How often.");
        assert_eq!(registry.families()["heat"].help, NO_HELP);
    }

    #[test]
    fn a_name_has_one_kind() {
        let registry = Arc::new(Registry::default());
        let (a, b) = (registry.of(&"a".into()), registry.of(&"b".into()));
        a.register(Kind::Counter, "hits", "").unwrap();
        assert_eq!(a.register(Kind::Counter, "hits_total", ""), Ok(0), "the same");
        let refused = Err(Refused::Kind { policy: "a".into(), kind: "counter" });
        assert_eq!(a.register(Kind::Gauge, "hits_total", ""), refused);
        assert_eq!(b.register(Kind::Gauge, "hits_total", ""), refused);
        a.register(Kind::Gauge, "hits", "").unwrap();
        drop(a);
        assert_eq!(b.register(Kind::Gauge, "hits_total", ""), Ok(0), "the policy is gone");
    }

    #[test]
    fn trials_check_kinds_and_show_nothing() {
        let registry = Arc::new(Registry::default());
        let live = registry.of(&"a".into());
        live.register(Kind::Counter, "hits", "").unwrap();
        let trial = registry.hidden(&"a".into());
        let hits = trial.register(Kind::Counter, "hits", "").unwrap();
        trial.add(hits, 7, 0);
        assert!(trial.register(Kind::Gauge, "hits_total", "").is_err());
        trial.register(Kind::Gauge, "heat", "").unwrap();
        assert_eq!(shown(&registry), ["counter hits_total a 0"]);
        let sibling = registry.hidden(&"b".into());
        assert!(sibling.register(Kind::Counter, "heat", "").is_ok(), "another name");
        assert!(sibling.register(Kind::Gauge, "hits_total", "").is_err());
        assert!(Arc::ptr_eq(&registry.of(&"a".into()), &live));
    }

    #[test]
    fn names_and_numbers_are_bounded() {
        let registry = Arc::new(Registry::default());
        let a = registry.of(&"a".into());
        let long = "x".repeat(MAX_NAME + 1);
        for name in ["", "A", "_a", "1a", "a-b", "a b", "ä", "a\n", &long] {
            assert_eq!(a.register(Kind::Counter, name, ""), Err(Refused::Name), "{name}");
        }
        a.register(Kind::Gauge, &long[1..], &"ä".repeat(1000)).unwrap();
        assert_eq!(registry.families()[&long[1..]].help.len(), MAX_HELP);
        for n in 1..MAX_SERIES {
            a.register(Kind::Counter, &format!("n{n}"), "").unwrap();
        }
        assert_eq!(a.register(Kind::Counter, "more", ""), Err(Refused::Full));
        assert_eq!(a.register(Kind::Counter, "n1", ""), Ok(1), "known ones stay known");
        registry.of(&"b".into()).register(Kind::Counter, "more", "").unwrap();
    }
}
