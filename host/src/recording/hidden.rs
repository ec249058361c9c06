//! What may be hidden of records.

use std::str::FromStr;

/// What is hidden.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hidden {
    pub credentials: bool,
    pub addresses: bool,
}

/// The flags of a recording.
const CREDENTIALS: u32 = 1;
const ADDRESSES: u32 = 2;

impl Hidden {
    pub(super) fn flags(self) -> u32 {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        flag(self.credentials, CREDENTIALS) | flag(self.addresses, ADDRESSES)
    }

    /// Reads the flags of a recording; `None`: there are unknown ones.
    pub(super) fn of_flags(flags: u32) -> Option<Self> {
        let known = flags & !(CREDENTIALS | ADDRESSES) == 0;
        let (credentials, addresses) = (flags & CREDENTIALS != 0, flags & ADDRESSES != 0);
        known.then_some(Self { credentials, addresses })
    }

    /// Returns what is hidden in this or in another.
    pub fn or(self, other: Self) -> Self {
        Self {
            credentials: self.credentials || other.credentials,
            addresses: self.addresses || other.addresses,
        }
    }

    /// Returns the names of what is hidden.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [("credentials", self.credentials), ("addresses", self.addresses)];
        all.into_iter().filter(|(_, hidden)| *hidden).map(|(name, _)| name)
    }
}

impl FromStr for Hidden {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').try_fold(Self::default(), |hidden, name| match name {
            "credentials" => Ok(Self { credentials: true, ..hidden }),
            "addresses" => Ok(Self { addresses: true, ..hidden }),
            _ => Err("expected credentials, addresses, or both"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let both = Hidden { credentials: true, addresses: true };
        assert_eq!("credentials,addresses".parse(), Ok(both));
        assert_eq!("addresses".parse(), Ok(Hidden { credentials: false, addresses: true }));
        assert!("all".parse::<Hidden>().is_err());
        assert_eq!(Hidden::of_flags(both.flags()), Some(both));
        assert_eq!(Hidden::of_flags(4), None);
    }
}
