//! What clients send and get, to the byte, and what real ones do.

mod clients;
mod connections;
mod http;
mod tls;
mod udp;
