//! The real daemon, seen from outside: bytes over HTTP and UDP, its command line, its log.

mod admin;
mod config;
mod connections;
mod containment;
mod habits;
mod http;
mod lifecycle;
mod limits;
mod policies;
mod udp;
mod unusable;
