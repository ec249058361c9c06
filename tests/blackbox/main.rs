//! The real daemon, seen from outside: bytes over HTTP and UDP, its command line, its log.

mod admin;
mod approval_list;
mod approvals;
mod config;
mod connections;
mod containment;
mod control;
mod data;
mod deniability;
mod examples;
mod habits;
mod hostfns;
mod http;
mod lifecycle;
mod limits;
mod locality;
mod passkey;
mod policies;
mod ranking;
mod rate_limit;
mod reload;
mod remembered;
mod udp;
mod unusable;
mod url_data;
