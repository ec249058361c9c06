//! The call that a Gazelle expects of its tracker: which tokens finished downloads have used up.

use url::Url;

/// The most bytes of tokens in a call, as Ocelot has them.
const LONGEST: usize = 350;

/// Where a site is told of tokens. It has a password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback(Url);

impl Callback {
    /// Returns the call at a URL, with the password of the site's own calls.
    #[must_use]
    pub fn new(mut url: Url, password: &str) -> Self {
        url.query_pairs_mut()
            .append_pair("key", password)
            .append_pair("type", "expiretoken")
            .append_pair("action", "ocelot");
        Self(url)
    }

    /// Returns the URL of a call about the first ones of some tokens, by member and torrent, and how
    /// many these are.
    #[must_use]
    pub fn about(&self, tokens: &[(u64, u64)]) -> (Url, usize) {
        let (mut text, mut count) = (String::new(), 0);
        for (member, torrent) in tokens {
            let one = format!("{member}:{torrent}");
            if count > 0 && text.len() + 1 + one.len() > LONGEST {
                break;
            }
            if count > 0 {
                text.push(',');
            }
            text.push_str(&one);
            count += 1;
        }
        let mut url = self.0.clone();
        // A site's own parser has to understand it: neither character needs to be escaped.
        let query = format!("{}&tokens={text}", url.query().unwrap_or_default());
        url.set_query(Some(&query));
        (url, count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_told_as_by_ocelot() {
        let callback = Callback::new("http://127.0.0.1/tools.php".parse().unwrap(), "secret");
        let (url, count) = callback.about(&[(7, 12), (8, 13)]);
        let expected = "http://127.0.0.1/tools.php?key=secret&type=expiretoken&action=ocelot\
                        &tokens=7:12,8:13";
        assert_eq!((url.as_str(), count), (expected, 2));
        let callback = Callback::new("https://site.example/t?x=1".parse().unwrap(), "secret");
        let (url, _) = callback.about(&[(1, 2)]);
        assert!(url.as_str().starts_with("https://site.example/t?x=1&key=secret&"), "{url}");
    }

    proptest! {
        #[test]
        fn no_call_is_too_long_and_each_tells_something(
            tokens in prop::collection::vec((1..=u64::MAX, 1..=u64::MAX), 1..100),
        ) {
            let callback = Callback::new("http://127.0.0.1/".parse().unwrap(), "secret");
            let (url, count) = callback.about(&tokens);
            let (_, told) = url.as_str().split_once("tokens=").unwrap();
            prop_assert!((1..=LONGEST).contains(&told.len()));
            let expected: Vec<_> =
                tokens[..count].iter().map(|(one, other)| format!("{one}:{other}")).collect();
            prop_assert_eq!(told, expected.join(","));
        }
    }
}
