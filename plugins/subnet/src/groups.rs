//! Named groups of networks, from the configuration and from a data source.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU64;

use karuta_plugin::{Network, text};

use crate::labels::{self, Tree};
use crate::networks::Networks;

/// Groups under construction.
#[derive(Default)]
pub struct Groups<'a> {
    tree: Tree<'a>,
    names: Vec<&'a str>,
    /// Each network, with the index of its group in `names`.
    networks: BTreeMap<Network, usize>,
}

impl<'a> Groups<'a> {
    /// Adds a group, unless it is known already, and returns its index.
    ///
    /// # Errors
    ///
    /// Fails if the name is invalid.
    pub fn group(&mut self, name: &'a str) -> Result<usize, String> {
        let index = self.names.len();
        let known = self.tree.add(labels::levels(name)?, index);
        if known.is_none() {
            self.names.push(name);
        }
        Ok(known.unwrap_or(index))
    }

    /// Adds a network to the group with this index.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a network, or the network is in another group.
    pub fn network(&mut self, text: &str, group: usize) -> Result<(), String> {
        let network: Network = text.parse().map_err(|_| {
            format!("invalid network `{text}`, expected one such as 10.1.7.0/24 or 2001:db8::/64")
        })?;
        match self.networks.entry(network) {
            Entry::Vacant(entry) => {
                entry.insert(group);
                Ok(())
            }
            Entry::Occupied(entry) if *entry.get() == group => Ok(()),
            Entry::Occupied(entry) => {
                let other = self.names[*entry.get()];
                Err(format!("{network} is also in the group `{other}`, expected it in one group"))
            }
        }
    }

    /// Adds the networks of a text, one per line: `10.2.0.0/16 us/iad2/rack1`. Skips blank lines,
    /// and comments, which begin with a `#` at the start of a line or after white space.
    ///
    /// # Errors
    ///
    /// Fails at the first wrong line, and says which it is.
    pub fn lines(&mut self, text: &'a str) -> Result<(), String> {
        for (number, line) in (1..).zip(text::lines(text)) {
            self.line(line).map_err(|error| format!("line {number}: {error}"))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &'a str) -> Result<(), String> {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let Some(network) = words.next() else {
            return Ok(());
        };
        let (Some(group), None) = (words.next(), words.next()) else {
            return Err(format!(
                "`{}`, expected a network and its group, such as 10.2.0.0/16 us/iad2/rack1",
                line.trim()
            ));
        };
        let group = self.group(group)?;
        self.network(network, group)
    }

    /// Returns how many levels the labels have, and the labels of the networks.
    ///
    /// # Errors
    ///
    /// Fails if there are more groups than labels.
    pub fn label(self) -> Result<(usize, Networks), String> {
        let mut labels = vec![NonZeroU64::MIN; self.names.len()];
        for (index, label) in self.tree.labels()? {
            labels[index] = label;
        }
        let networks = self.networks.into_iter();
        let networks = networks.map(|(network, group)| (network, labels[group]));
        Ok((self.tree.levels(), Networks::new(networks)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Networks, String> {
        let mut groups = Groups::default();
        groups.lines(text)?;
        Ok(groups.label()?.1)
    }

    #[test]
    fn lines_hold_a_network_and_a_group() {
        let text = "# racks\r\n\n10.1.0.0/16 eu # all of it\n\t10.1.7.0/24\teu/fra1 \r\n\
                    2001:db8:1::/48 eu\r10.1.0.0/16 eu\n::ffff:10.3.0.0/112 eu";
        let networks = lines(text).unwrap();
        let find = |address: &str| networks.find(address.parse().unwrap());
        assert_eq!(find("10.1.1.1"), find("2001:db8:1::5"));
        assert!(find("10.1.7.1").is_some() && find("10.1.7.1") != find("10.1.1.1"));
        assert_eq!(find("10.2.0.1"), None);
        assert_eq!(find("10.3.0.1"), find("10.1.1.1"), "IPv4 may be written as IPv6");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([0-9./]{0,9}|10.0.0.0/8|::/[0-9]{1,3})[ \\PC]{0,20}(\n\\PC{0,20})?") {
            let _ = lines(&text);
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, error) in [
            (
                "\n10.2.0.0/16",
                "line 2: `10.2.0.0/16`, expected a network and its group, such as 10.2.0.0/16 \
                 us/iad2/rack1",
            ),
            (
                "10.2.0.0/16 us eu",
                "line 1: `10.2.0.0/16 us eu`, expected a network and its group, such as \
                 10.2.0.0/16 us/iad2/rack1",
            ),
            (
                "10.2.0.0/33 us",
                "line 1: invalid network `10.2.0.0/33`, expected one such as 10.1.7.0/24 or \
                 2001:db8::/64",
            ),
            (
                "10.2.0.0/16 us//rack1",
                "line 1: invalid group `us//rack1`, expected a name such as eu/fra1/rack7",
            ),
            (
                "10.2.0.0/16 us\n10.2.9.9/16 eu",
                "line 2: 10.2.0.0/16 is also in the group `us`, expected it in one group",
            ),
        ] {
            assert_eq!(lines(text).err().as_deref(), Some(error));
        }
    }
}
