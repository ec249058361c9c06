//! Listeners and certificates.

use askama::Template;

use super::number;
use crate::admin::facts::{Facts, ListenerStatus, ReceiveBuffer};
use crate::admin::health;
use crate::metrics::ShownCertificate;

#[derive(Template)]
#[template(path = "listeners.html")]
pub struct Listeners<'a> {
    listeners: &'a [ListenerStatus],
    certificates: &'a [ShownCertificate],
    now: u64,
}

impl<'a> Listeners<'a> {
    pub fn of(facts: &'a Facts, now: u64) -> Self {
        Self { listeners: &facts.listeners, certificates: &facts.certificates, now }
    }

    /// Returns the command that lets the kernel grant every buffer.
    fn sysctl(&self) -> Option<String> {
        let buffers = self.listeners.iter().filter_map(|one| one.listener.receive_buffer);
        let wanted = buffers.filter(is_small).map(|buffer| buffer.requested).max()?;
        Some(format!("sysctl -w net.core.rmem_max={wanted}"))
    }
}

fn is_small(buffer: &ReceiveBuffer) -> bool {
    buffer.granted < buffer.requested
}

/// Returns the style of the end of a certificate.
fn tone(end: &u64, now: &u64) -> &'static str {
    match end.checked_sub(*now) {
        None => "bad",
        Some(left) if left < health::SOON => "look",
        Some(_) => "",
    }
}
