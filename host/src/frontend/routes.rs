//! Maps paths to actions and their parameters.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::metrics::Action;

/// Every route of the configuration, once. Policies refer to routes by their position here.
#[derive(Clone, Default)]
pub struct RouteTable(Vec<Box<str>>);

/// The routes of one listener.
#[derive(Clone, Default)]
pub struct Routes {
    router: matchit::Router<Route>,
}

#[derive(Clone)]
struct Route {
    action: Action,
    id: u16,
    parameters: Arc<[Arc<str>]>,
}

/// A matching route.
pub struct Match {
    pub action: Action,
    pub route: u16,
}

impl RouteTable {
    /// Returns the position of a route; adds the route if it is new.
    pub fn id(&mut self, route: &str) -> u16 {
        let known = self.0.iter().position(|known| **known == *route);
        let at = known.unwrap_or_else(|| {
            self.0.push(route.into());
            self.0.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }
}

impl Routes {
    /// # Errors
    ///
    /// The route conflicts with the others.
    pub fn new(
        announce: &[String],
        scrape: &[String],
        table: &mut RouteTable,
    ) -> Result<Self, String> {
        let mut router = matchit::Router::new();
        let announces = announce.iter().map(|route| (route, Action::Announce));
        for (pattern, action) in announces.chain(scrape.iter().map(|r| (r, Action::Scrape))) {
            let parameters = pattern
                .split('/')
                .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
                .map(Arc::from)
                .collect();
            let route = Route { action, id: table.id(pattern), parameters };
            router.insert(pattern, route).map_err(|error| format!("route `{pattern}`: {error}"))?;
        }
        Ok(Self { router })
    }

    /// Finds the route of a path, and stores its parameters, percent-decoded, in `parameters`.
    pub fn find(&self, path: &str, parameters: &mut Vec<(Arc<str>, String)>) -> Option<Match> {
        parameters.clear();
        let found = self.router.at(path).ok()?;
        let route = found.value;
        for (name, (_, value)) in route.parameters.iter().zip(found.params.iter()) {
            // A parameter that is not UTF-8 is left out.
            if let Ok(value) = percent_decode_str(value).decode_utf8() {
                parameters.push((name.clone(), value.into_owned()));
            }
        }
        Some(Match { action: route.action, route: route.id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let announce = ["/announce", "/announce/{passkey}", "/{passkey}/announce"];
        let scrape = ["/scrape", "/scrape/{passkey}", "/{passkey}/scrape"];
        let owned = |routes: [&str; 3]| routes.map(str::to_owned);
        Routes::new(&owned(announce), &owned(scrape), &mut RouteTable::default()).unwrap()
    }

    /// The action, the route and the parameters of a path.
    type Found<'a> = (Action, u16, &'a [(&'a str, &'a str)]);

    #[track_caller]
    fn check(path: &str, expected: Option<Found>) {
        let mut parameters = Vec::new();
        let found = routes().find(path, &mut parameters);
        let found = found.map(|found| {
            let pairs: Vec<_> = parameters.iter().map(|(k, v)| (&**k, v.as_str())).collect();
            (found.action, found.route, pairs)
        });
        let expected = expected.map(|(action, route, pairs)| (action, route, pairs.to_vec()));
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths_have_their_route_and_parameters() {
        check("/announce", Some((Action::Announce, 0, &[])));
        check("/announce/abc", Some((Action::Announce, 1, &[("passkey", "abc")])));
        check("/abc/announce", Some((Action::Announce, 2, &[("passkey", "abc")])));
        check("/a%2Fb+c/announce", Some((Action::Announce, 2, &[("passkey", "a/b+c")])));
        check("/%ff/announce", Some((Action::Announce, 2, &[])));
        check("/scrape", Some((Action::Scrape, 3, &[])));
        check("/abc/scrape", Some((Action::Scrape, 5, &[("passkey", "abc")])));
        check("/", None);
        check("", None);
        check("/announce/", None);
        check("/announce/a/b", None);
    }
}
