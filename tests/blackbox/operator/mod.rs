//! What operators rely on: configurations, commands, the admin API, the log, reloads and shutdown.

mod admin;
mod admin_socket;
mod admin_tokens;
mod audit;
mod config;
mod doctor;
mod examples;
mod explain;
mod journal;
mod lifecycle;
mod lists;
mod log;
mod log_file;
mod log_levels;
mod privileges;
mod probe;
mod refused_plugins;
mod reload;
mod renewals;
mod service;
mod shutdown;
mod snapshots;
mod swarms;
mod tls;
mod units;
