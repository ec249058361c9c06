//! The series that plugins make for themselves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

/// Series that one policy may have.
const MAX_SERIES: usize = 64;
/// Bytes of a name.
const MAX_NAME: usize = 64;
/// Bytes of a help text; what is longer is cut.
const MAX_HELP: usize = 256;
/// A counter is split over so many cells, so that workers seldom write to the same.
const CELLS: usize = 8;

/// The series of all policies. Those of a policy are there as long as somebody holds them: plugins
/// do, so that one version of a policy hands them to the next.
#[derive(Default)]
pub struct Registry(Mutex<Vec<Weak<Series>>>);

/// The series of one policy, shared by its instances.
pub struct Series {
    policy: Arc<str>,
    /// Whether they are exported.
    shown: bool,
    registry: Weak<Registry>,
    /// An id is a place in this list.
    known: RwLock<Vec<One>>,
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

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Cell(AtomicU64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
}

/// One name, and what each policy has under it.
pub struct Family {
    pub kind: Kind,
    pub help: String,
    /// Policies and their values.
    pub values: Vec<(Arc<str>, f64)>,
}

/// Why there is no such series.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    #[error(
        "a series is named with a lower-case letter and then up to {} of a to z, 0 to 9 and _",
        MAX_NAME - 1
    )]
    Name,
    #[error("the policy `{policy}` has a {kind} of that name")]
    Kind { policy: Arc<str>, kind: &'static str },
    #[error("a policy may have {MAX_SERIES} series")]
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
    /// The exported series of a policy, none where nobody holds any.
    pub fn of(self: &Arc<Self>, policy: &Arc<str>) -> Arc<Series> {
        let mut all = self.0.lock();
        all.retain(|series| series.strong_count() > 0);
        let known = all.iter().filter_map(Weak::upgrade);
        known.into_iter().find(|one| one.shown && one.policy == *policy).unwrap_or_else(|| {
            let series = Arc::new(Series::new(self, policy, true));
            all.push(Arc::downgrade(&series));
            series
        })
    }

    /// Series that are like a policy's, but not exported: for trials.
    pub fn hidden(self: &Arc<Self>, policy: &Arc<str>) -> Arc<Series> {
        let series = Arc::new(Series::new(self, policy, false));
        self.0.lock().push(Arc::downgrade(&series));
        series
    }

    /// Everything that is exported, by name.
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
            registry: Arc::downgrade(registry),
            known: RwLock::default(),
        }
    }

    /// The id of a series, which is made where it is not known.
    pub fn register(&self, kind: Kind, name: &str, help: &str) -> Result<u32, Refused> {
        if let Some((id, one)) = self.known.read().iter().enumerate().find(|(_, one)| one.name == name)
        {
            return self.same(kind, one.value.kind()).map(|()| id as u32);
        }
        if !is_name(name) {
            return Err(Refused::Name);
        }
        // Names and kinds change only under the registry's lock.
        let Some(registry) = self.registry.upgrade() else { return Err(Refused::Full) };
        let all = registry.0.lock();
        todo!()
    }
}
