//! Values that most requests do without.

/// A value in memory of its own that is kept for the next request. As long as it is not used, that
/// memory is not touched, so that it takes no room in the processor's caches.
#[derive(Debug, Default)]
pub struct Rare<T> {
    used: bool,
    value: Option<Box<T>>,
}

/// A value that can be emptied without giving its memory back.
pub trait Clear {
    fn clear(&mut self);
}

impl<T: Clear + Default> Rare<T> {
    pub fn is_used(&self) -> bool {
        self.used
    }

    /// Returns the value if it is used.
    pub fn get(&self) -> Option<&T> {
        self.value.as_deref().filter(|_| self.used)
    }

    /// Returns the value if it is used.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_deref_mut().filter(|_| self.used)
    }

    /// Uses the value, which is empty if it was not used before.
    pub fn make(&mut self) -> &mut T {
        self.used = true;
        self.value.get_or_insert_default()
    }

    /// Empties the value, and stops using it.
    pub fn clear(&mut self) {
        if let Some(value) = self.get_mut() {
            value.clear();
            self.used = false;
        }
    }
}

impl<T: Clear + Default + Clone> Clone for Rare<T> {
    fn clone(&self) -> Self {
        let value = self.get().cloned().map(Box::new);
        Self { used: value.is_some(), value }
    }

    fn clone_from(&mut self, source: &Self) {
        match source.get() {
            Some(value) => self.make().clone_from(value),
            None => self.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Clear for Vec<u8> {
        fn clear(&mut self) {
            self.clear();
        }
    }

    #[test]
    fn a_value_is_empty_until_it_is_used_and_after_it_is_cleared() {
        let mut rare = Rare::<Vec<u8>>::default();
        rare.clear();
        assert_eq!(rare.get(), None);
        assert_eq!(rare.get_mut(), None);
        rare.make().extend(1..=9);
        rare.make().push(10);
        assert_eq!(rare.get().map(Vec::len), Some(10));
        let room = rare.make().capacity();
        rare.clear();
        assert_eq!(rare.get(), None);
        assert_eq!(rare.get_mut(), None);
        assert!(rare.make().is_empty());
        assert_eq!(rare.make().capacity(), room, "its memory is kept");
    }

    #[test]
    fn a_copy_has_the_value_only_if_it_is_used() {
        let mut used = Rare::<Vec<u8>>::default();
        used.make().push(1);
        let mut copy = used.clone();
        assert_eq!(copy.get(), Some(&vec![1]));
        used.clear();
        assert_eq!(used.clone().get(), None);
        copy.clone_from(&used);
        assert_eq!(copy.get(), None);
        used.make().push(2);
        copy.clone_from(&used);
        assert_eq!(copy.get(), Some(&vec![2]));
    }
}
