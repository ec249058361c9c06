//! What operators rely on: configurations, commands, the admin API, the log, reloads and shutdown.

mod admin;
mod admin_socket;
mod admin_tokens;
mod audit;
mod config;
mod examples;
mod explain;
mod lifecycle;
mod log;
mod refused_plugins;
mod reload;
mod renewals;
mod service;
mod shutdown;
mod snapshots;
mod tls;
mod units;
