//! What authors of policies work with: `karuta plugin …`.

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
mod survey;
mod wit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::project::{Language, Project};

use crate::admin::{Remote, Unknown};
use crate::policy::{Artifacts, Compiler, Engine};
use crate::state_dir::StateDir;
use crate::text::Escaped;

/// What `karuta plugin` does.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a folder with a policy to begin with.
    New {
        #[arg(long, value_name = "LANGUAGE")]
        lang: Language,
        /// What the policy is called; the folder's name, or a path that ends with it.
        name: String,
    },
    /// Make a component of the project in this folder.
    Build {
        /// Another folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// Leave the component here instead of as NAME.wasm in the folder.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Run a component against cases, by the tracker's own code on a clock that stands still.
    Test {
        /// The component (.wasm) and the cases (.yaml); by default those of the project in this
        /// folder.
        #[arg(num_args = 0..=2)]
        files: Vec<PathBuf>,
        /// Write the results as JUnit does, too.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Build and test whenever something changes, and have a running daemon read it.
    Dev {
        /// The project's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
    /// Measure what a component costs: its calls, its instances, loading it.
    Bench {
        /// The component (.wasm) and the cases (.yaml) whose calls are repeated; by default those of
        /// the project in this folder.
        #[arg(num_args = 0..=2)]
        files: Vec<PathBuf>,
    },
    /// Say whether the tracker would take a component, and if not, what would mend it.
    Check {
        /// The component.
        file: PathBuf,
        /// What the configuration's `allow` will grant: `http`, `env`, `folders`.
        #[arg(long, value_name = "GRANT", value_delimiter = ',')]
        allow: Vec<needs::Grant>,
    },
    /// Show what a component is: hooks, imports, size, what it was made with.
    Inspect {
        /// The component.
        file: PathBuf,
    },
    /// Print the contract between the tracker and its policies.
    Wit {
        /// Write it into this folder instead, as tools for WIT want it.
        #[arg(long, short, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
}

/// Why something was not done.
enum Failure {
    /// It was tried, and failed.
    Failed(String),
    /// What was asked for cannot be tried.
    Usage(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

/// Does what the command says. Exit codes: 0 fine, 1 failed, 2 wrong usage.
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
            Err(Unknown::Token(text)) => Err(Failure::Usage(text)),
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

/// The component and the cases among files that were named; the component of the project in this
/// folder where none is.
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
            return Err(Failure::Usage(format!("{}: one too many of its kind", file.display())));
        }
    }
    let component = match component {
        Some(component) => component,
        None => {
            let component = Project::open(Path::new(""))?.component();
            if !component.exists() {
                return Err(Failure::Usage(format!(
                    "there is no {}: `karuta plugin build` makes it",
                    component.display()
                )));
            }
            component
        }
    };
    Ok((component, cases))
}

/// The engine of the tracker. Compiled components are shared with those that a daemon of this user
/// keeps, where there is a folder for them.
fn engine(compiler: &Compiler) -> Result<Engine, Failure> {
    Engine::new(compiler.clone(), artifacts()).map_err(|error| error.to_string().into())
}

/// The same, except that it counts fuel.
fn engine_counting_fuel(compiler: &Compiler) -> Result<Engine, Failure> {
    Engine::counting_fuel(compiler.clone(), artifacts()).map_err(|error| error.to_string().into())
}

fn artifacts() -> Option<Artifacts> {
    StateDir::open(None).and_then(|state| Artifacts::open(&state)).ok()
}
