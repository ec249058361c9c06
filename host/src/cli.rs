//! The command line.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, LogFormat, LogLevel};
use crate::daemon::{self, Error};

/// A BitTorrent tracker whose policies are WebAssembly components.
#[derive(Parser)]
#[command(name = "karuta", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Run(Source),
    /// Say whether `run` would accept the configuration; loads every plugin, listens nowhere.
    Check(Source),
}

#[derive(clap::Args)]
struct Source {
    /// The configuration.
    #[arg(long, short, default_value = "config.yaml", value_name = "FILE")]
    config: PathBuf,
}

/// The exit code for a wrong configuration (`EX_CONFIG` of sysexits.h).
const WRONG_CONFIGURATION: u8 = 78;

/// Does what the command line says. Exit codes: 0 fine, 1 failed, 2 wrong usage, 78 wrong
/// configuration.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(source) => load(&source).and_then(|config| {
            log_to_stderr(&config);
            daemon::run(config)
        }),
        Command::Check(source) => {
            load(&source).and_then(|config| daemon::check(&config)).map(|()| {
                println!("{}: fine", source.config.display());
            })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Config(error)) => {
            eprintln!("{error}");
            ExitCode::from(WRONG_CONFIGURATION)
        }
        Err(error) => {
            eprintln!("karuta: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load(source: &Source) -> Result<Config, Error> {
    config::load(&source.config).map_err(Error::Config)
}

fn log_to_stderr(config: &Config) {
    let level = match config.log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
