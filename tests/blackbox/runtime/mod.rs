//! How the tracker runs policies: what they may see and do, what it costs them to fail, and the
//! limits that hold without them.

mod batches;
mod bombs;
mod chain;
mod compiled;
mod containment;
mod control;
mod data_files;
mod data_urls;
mod differences;
mod failures;
mod hidden_peers;
mod imports;
mod limits;
mod locality;
mod policy_log;
mod ranking;
mod remembered;
mod shadow;
