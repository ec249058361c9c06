//! TLS: certificates that are renewed while they serve, and handshakes.

mod certificate;
mod client;
mod files;
mod handshake;
mod outgoing;
mod serving;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::Trust;
pub use files::PATIENCE;
pub use handshake::Handshakes;
pub use outgoing::{ClientFiles, install_provider};
pub use serving::{Certificates, Listener};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
