//! State that the versions of one policy share.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Values by policy name. A value lives as long as something holds it. Plugins do, so that one
/// version of a policy hands it to the next.
pub struct Named<T>(Mutex<HashMap<Arc<str>, Weak<T>>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Named<T> {
    /// Returns the value of this name, or a new one if none is held.
    pub fn of(&self, name: &Arc<str>) -> Arc<T> {
        let mut known = self.0.lock();
        if let Some(known) = known.get(name).and_then(Weak::upgrade) {
            return known;
        }
        known.retain(|_, thing| thing.strong_count() > 0);
        let thing = Arc::new(T::default());
        known.insert(name.clone(), Arc::downgrade(&thing));
        thing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_lives_as_long_as_it_is_held() {
        let named = Named::<Mutex<u8>>::default();
        let first = named.of(&"a".into());
        *first.lock() = 7;
        assert_eq!(*named.of(&"b".into()).lock(), 0);
        let second = named.of(&"a".into());
        drop(first);
        assert_eq!(*second.lock(), 7);
        drop(second);
        assert_eq!(*named.of(&"a".into()).lock(), 0);
    }
}
