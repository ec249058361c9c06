//! `karuta:policy/request`: the rest of the request that the current hook decides.

use std::borrow::Cow;

use wasmtime::component::HasData;

use crate::exchange::{Exchange, Request, Target};
use crate::policy::contract::bindings::imports::request::Host;
use crate::policy::contract::values::{self, Address};

/// The request, its credential, and the attributes of earlier policies.
pub struct View<'a> {
    pub exchange: &'a Exchange,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl View<'_> {
    fn request(&self) -> &Request {
        &self.exchange.request
    }

    fn target(&self) -> Option<&Target> {
        self.request().target.get()
    }
}

impl Host for View<'_> {
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
        self.target()?.query_parameter(&name).map(Cow::into_owned)
    }

    fn path_param(&mut self, name: String) -> Option<String> {
        self.target()?.path_parameter(&name).map(str::to_owned)
    }

    fn header(&mut self, name: String) -> Option<String> {
        self.target()?.header(&name).map(str::to_owned)
    }

    fn credential(&mut self) -> Option<String> {
        let credential = &self.exchange.credential;
        (!credential.is_empty()).then(|| credential.clone())
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
