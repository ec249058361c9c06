//! The real daemon, seen from outside: bytes over HTTP and UDP, its command line, its log.

mod admin;
mod config;
mod connections;
mod containment;
mod control;
mod data;
mod explain;
mod habits;
mod hostfns;
mod http;
mod lifecycle;
mod limits;
mod locality;
mod plugin_tools;
mod policies;
mod ranking;
mod released;
mod reload;
mod remembered;
mod samples;
mod subnet;
mod udp;
mod unusable;
mod url_data;
mod wrong_components;
