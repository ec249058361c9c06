//! Tools for authors of policies: `karuta plugin …`.

mod bench;
mod build;
mod cases;
mod check;
mod create;
mod dev;
mod inspect;
mod needs;
mod project;
mod sdk;
mod wit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::project::{Language, Project};

use crate::admin::{Remote, Unknown};
use crate::policy::{Artifacts, Compiler, Engine};
use crate::state_dir::StateDir;
use crate::text::Escaped;

/// The subcommands of `karuta plugin`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Create a folder with a starter policy.
    New {
        #[arg(long, value_name = "LANGUAGE")]
        lang: Language,
        /// The policy's name: the name of the folder, or a path that ends with it.
        name: String,
    },
    /// Build a component from the project in this folder.
    Build {
        /// The project's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Write the component here instead of to NAME.wasm in the folder.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Run a component against cases, with the tracker's own code and a clock that stands still.
    Test {
        /// The component (.wasm) and the cases (.yaml); by default those of the project in this
        /// folder.
        #[arg(num_args = 0..=2)]
        files: Vec<PathBuf>,
        /// Also write the results as JUnit XML.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Build and test on every change, and reload a running daemon.
    Dev {
        /// The project's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
    /// Measure the cost of a component: its calls, its instances, loading it.
    Bench {
        /// The component (.wasm) and the cases (.yaml) whose calls are repeated; by default those of
        /// the project in this folder.
        #[arg(num_args = 0..=2)]
        files: Vec<PathBuf>,
    },
    /// Check that the tracker would accept a component, or say how to fix it.
    Check {
        /// The component.
        file: PathBuf,
        /// What the configuration's `allow` will grant.
        #[arg(long, value_name = "GRANT", value_delimiter = ',')]
        allow: Vec<needs::Grant>,
    },
    /// Show a component: hooks, imports, size, and the tools that made it.
    Inspect {
        /// The component.
        file: PathBuf,
    },
    /// Print the contract between the tracker and its policies.
    Wit {
        /// Write it into this folder instead, in the layout that WIT tools expect.
        #[arg(long, short, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
}

/// Why a command failed.
enum Failure {
    /// It was tried, and failed.
    Failed(String),
    /// The request is invalid.
    Usage(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

/// Runs the command. Exit codes: 0 success, 1 failure, 2 wrong usage.
pub fn main(command: Command, compiler: &Compiler) -> ExitCode {
    let done = match command {
        Command::New { lang, name } => create::create(&name, lang),
        Command::Build { folder, output } => build::build(&folder, output.as_deref()).map(drop),
        Command::Test { files, junit } => sort(&files).and_then(|(component, cases)| {
            cases::test(
                &component,
                &cases.unwrap_or_else(|| project::CASES.into()),
                junit.as_deref(),
                compiler,
            )
        }),
        Command::Dev { folder, remote } => match remote.client() {
            Ok(client) => dev::dev(&folder, &client, compiler),
            Err(Unknown::Config(error)) => Err(Failure::Usage(error.to_string())),
            Err(Unknown::Credential(text)) => Err(Failure::Usage(text)),
        },
        Command::Bench { files } => sort(&files).and_then(|(component, cases)| {
            let there = Path::new(project::CASES).exists() && files.is_empty();
            let cases = cases.or_else(|| there.then(|| project::CASES.into()));
            bench::bench(&component, cases.as_deref(), compiler)
        }),
        Command::Check { file, allow } => check::check(&file, &allow, compiler),
        Command::Inspect { file } => inspect::inspect(&file),
        Command::Wit { output } => wit::wit(output.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(text)) => {
            eprintln!("karuta: {}", Escaped(text));
            ExitCode::FAILURE
        }
        Err(Failure::Usage(text)) => {
            eprintln!("karuta: {}", Escaped(text));
            ExitCode::from(2)
        }
    }
}

/// Picks the component and the cases from the given files; by default the component of the project
/// in this folder.
fn sort(files: &[PathBuf]) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let (mut component, mut cases) = (None, None);
    for file in files {
        let place = match file.extension().and_then(|extension| extension.to_str()) {
            Some("wasm") => &mut component,
            Some("yaml" | "yml") => &mut cases,
            _ => {
                let text = format!("{}: expected a .wasm or a .yaml", file.display());
                return Err(Failure::Usage(text));
            }
        };
        if place.replace(file.clone()).is_some() {
            return Err(Failure::Usage(format!(
                "{}: expected only one file of this kind",
                file.display()
            )));
        }
    }
    let component = match component {
        Some(component) => component,
        None => {
            let component = Project::open(Path::new(""))?.component();
            if !component.exists() {
                return Err(Failure::Usage(format!(
                    "{} does not exist: `karuta plugin build` makes it",
                    component.display()
                )));
            }
            component
        }
    };
    Ok((component, cases))
}

/// Makes the tracker's engine. It shares the cache of compiled components with this user's daemon,
/// if there is a folder for it.
fn engine(compiler: &Compiler) -> Result<Engine, Failure> {
    Engine::new(compiler.clone(), artifacts()).map_err(|error| error.to_string().into())
}

/// Makes the same engine, but counting fuel.
fn engine_counting_fuel(compiler: &Compiler) -> Result<Engine, Failure> {
    Engine::counting_fuel(compiler.clone(), artifacts()).map_err(|error| error.to_string().into())
}

fn artifacts() -> Option<Artifacts> {
    StateDir::open(None).and_then(|state| Artifacts::open(&state)).ok()
}
