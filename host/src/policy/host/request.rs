//! `karuta:policy/request`: the rest of the request that the hook under way decides on.

use crate::config::CredentialRule;
use crate::policy::bindings::imports::request::Host;
use crate::policy::exchange::Request;
use crate::policy::state::State;
use crate::policy::values::{self, Address};

impl State {
    fn request(&self) -> &Request {
        &self.exchange.request
    }
}

impl Host for State {
    fn peer_id(&mut self) -> Vec<u8> {
        self.request().announce.peer_id.0.to_vec()
    }

    fn left(&mut self) -> u64 {
        self.request().announce.left.unwrap_or(u64::MAX)
    }

    fn uploaded(&mut self) -> u64 {
        self.request().announce.uploaded
    }

    fn downloaded(&mut self) -> u64 {
        self.request().announce.downloaded
    }

    fn query_param(&mut self, name: String) -> Option<String> {
        self.request().query_parameter(&name)
    }

    fn path_param(&mut self, name: String) -> Option<String> {
        self.request().path_parameter(&name).map(str::to_owned)
    }

    fn header(&mut self, name: String) -> Option<String> {
        self.request().header(&name).map(str::to_owned)
    }

    fn credential(&mut self) -> Option<String> {
        credential(&self.exchange.request, &self.credential)
    }

    fn client_address(&mut self) -> Address {
        values::address(self.request().client)
    }

    fn socket_address(&mut self) -> (Address, u16) {
        let socket = self.request().socket;
        (values::address(socket.ip()), socket.port())
    }

    fn attribute(&mut self, name: String) -> Option<String> {
        self.exchange.answer.attribute(&name).map(str::to_owned)
    }
}

/// The first of the rules that is there and not empty; `Bearer`, in any case, is taken off.
pub fn credential(request: &Request, rules: &[CredentialRule]) -> Option<String> {
    rules.iter().find_map(|rule| {
        let found = match rule {
            CredentialRule::Query(name) => request.query_parameter(name),
            CredentialRule::Path(name) => request.path_parameter(name).map(str::to_owned),
            CredentialRule::Header(name) => request.header(name).map(str::to_owned),
        };
        let bare = without_bearer(found.as_deref()?.trim());
        (!bare.is_empty()).then(|| bare.to_owned())
    })
}

fn without_bearer(value: &str) -> &str {
    match value.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
            let token = rest.trim_start();
            // "bearerish" is a value of its own.
            if token.len() < rest.len() || rest.is_empty() { token } else { value }
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_taken_off_in_any_case() {
        assert_eq!(without_bearer("Bearer abc"), "abc");
        assert_eq!(without_bearer("bEARER  abc"), "abc");
        assert_eq!(without_bearer("Bearer"), "");
        assert_eq!(without_bearer("bearerish"), "bearerish");
        assert_eq!(without_bearer("abc"), "abc");
        assert_eq!(without_bearer(""), "");
    }
}
