//! The real daemon, seen from outside: bytes over HTTP and UDP, its command line, its log.

mod author;
mod operator;
mod policies;
mod runtime;
mod wire;

mod components;
mod everywhere;
