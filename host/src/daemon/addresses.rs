//! Where the daemon listens, and which of its sockets the service manager has passed.

use std::io;

use socket2::{Socket, Type};

use super::error::{Error, system};
use crate::config::{Config, SiteDoor};
use crate::frontend::sockets::{self, Listen};
use crate::service::{Inheritance, Inherited};

/// The addresses of all listeners, in the order of the configuration.
pub struct Addresses {
    pub http: Vec<Site>,
    pub udp: Vec<Site>,
    /// Without its socket files.
    pub admin: Vec<Site>,
    /// Of each door for a site.
    pub doors: Vec<(SiteDoor, Site)>,
    /// Sockets that an earlier process has left, of addresses that are not in the configuration.
    pub leaving: Vec<Inherited>,
}

/// The address of a listener.
pub struct Site {
    pub listen: Listen,
    pub transport: &'static str,
    pub kind: Type,
    pub inherited: Vec<Inherited>,
    /// The first socket, unless the service manager has passed one.
    pub claimed: Option<Socket>,
}

impl Addresses {
    /// Claims every address, unless the service manager has passed its sockets, and determines
    /// ports.
    ///
    /// # Errors
    ///
    /// An address cannot be used, or a socket unit has one that no listener wants.
    pub fn claim(config: &Config, mut inheritance: Inheritance) -> Result<Self, Error> {
        let mut site = |transport, kind, address, only_v6| {
            let listen = sockets::usable(Listen { address, only_v6 });
            let inherited = inheritance.take(transport, kind, listen.address, listen.only_v6);
            Site { listen, transport, kind, inherited, claimed: None }
        };
        let http = config.http.iter();
        let http = http.map(|one| site("http", Type::STREAM, one.listen, one.only_v6)).collect();
        let udp = config.udp.iter();
        let udp = udp.map(|one| site("udp", Type::DGRAM, one.listen, one.only_v6)).collect();
        let admin = config.admin.addresses();
        let admin = admin.map(|one| site("admin", Type::STREAM, one, one.is_ipv6())).collect();
        let doors = config.admin.site_doors().into_iter();
        let doors = doors
            .map(|(door, one)| (door, site(door.name(), Type::STREAM, one, one.is_ipv6())))
            .collect();
        let mut addresses = Self { http, udp, admin, doors, leaving: inheritance.rest() };
        addresses.refuse_unwanted(config)?;
        let Self { http, udp, admin, doors, leaving } = &mut addresses;
        let doors = doors.iter_mut().map(|(_, site)| site);
        for site in http.iter_mut().chain(udp).chain(admin).chain(doors) {
            site.claim(leaving)?;
        }
        Ok(addresses)
    }

    /// Refuses sockets that an operator has set up and that no listener has taken.
    fn refuse_unwanted(&self, config: &Config) -> Result<(), Error> {
        let Some(socket) = self.leaving.iter().find(|socket| socket.left_by_us().is_none()) else {
            return Ok(());
        };
        let doors = self.doors.iter().map(|(_, site)| site);
        let sites = self.http.iter().chain(&self.udp).chain(&self.admin).chain(doors);
        let wanted = sites.filter(|site| site.kind == socket.kind);
        let wanted: Vec<_> = wanted.map(|site| site.listen.address.to_string()).collect();
        let Inherited { address, name, .. } = socket;
        let (key, kind) = if socket.kind == Type::DGRAM { ("udp", "UDP") } else { ("http", "TCP") };
        let message = format!(
            "the service manager passes the {kind} socket {address} (`{name}`), but no listener \
             wants it; expected {}",
            if wanted.is_empty() { "none".to_owned() } else { wanted.join(" or ") }
        );
        Err(Error::Config(config.source.error(key, message)))
    }
}

impl Site {
    /// Binds the first socket, which determines the port, if no other program has it.
    fn claim(&mut self, leaving: &[Inherited]) -> Result<(), Error> {
        let port = self.listen.address.port();
        // The claim would meet our own socket.
        let is_ours = leaving.iter().any(|one| one.kind == self.kind && one.address.port() == port);
        if self.inherited.is_empty() && !is_ours {
            let claimed = sockets::claim(self.listen, self.kind);
            let (listen, socket) = claimed.map_err(|error| cannot_listen(self.listen, error))?;
            (self.listen, self.claimed) = (listen, Some(socket));
        }
        Ok(())
    }
}

/// Returns the error of an address that cannot be used.
pub fn cannot_listen(listen: Listen, error: io::Error) -> Error {
    system(&format!("cannot listen on {}", listen.address), error)
}
