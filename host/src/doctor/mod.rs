//! `karuta doctor`: looks for what is wrong around the tracker.

mod certificates;
mod clock;
mod machine;
mod places;
mod policies;
mod secrets;
mod state;
mod unit;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Config};
use crate::confine;
use crate::finding::{Finding, Level};
use crate::policy::Compiler;

/// What to examine.
#[derive(clap::Args)]
pub struct Doctor {
    /// The configuration file.
    #[arg(long, short, default_value = "config.yaml", value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Becomes the user of `run_as`, as the daemon does, so that the other checks see what it will see.
fn become_user(config: &Config) -> Option<Finding> {
    let run_as = config.run_as.as_ref().filter(|_| confine::is_root())?;
    let user = &run_as.user;
    Some(match confine::become_user(user, run_as.ids.user, run_as.ids.group) {
        Ok(()) => {
            Finding::ok("user", format!("root becomes `{user}`, as whom the rest is examined"))
        }
        Err(error) => {
            let advice = "allow it, or start the tracker as that user";
            Finding::wrong("user", format!("root cannot become `{user}`: {error}"), advice)
        }
    })
}

/// Examines what can change around a running tracker: the machine, the folders and the certificates. Reads
/// files.
pub fn examine_around(config: &Config) -> Vec<Finding> {
    let mut findings = machine::examine(config);
    findings.extend(state::folder(config));
    findings.extend(places::examine(config));
    findings.extend(certificates::examine(config));
    findings
}

impl Doctor {
    /// Examines everything, and prints a line for each finding. Exits with 0 if nothing is wrong,
    /// otherwise with 1.
    pub fn run(self, compiler: Compiler) -> ExitCode {
        let findings = self.examine(compiler);
        let is_well = findings.iter().all(|finding| finding.level != Level::Wrong);
        if self.json {
            println!("{:#}", serde_json::json!({ "ok": is_well, "findings": findings }));
        } else {
            for finding in &findings {
                println!("{finding}");
            }
        }
        if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn examine(&self, compiler: Compiler) -> Vec<Finding> {
        // Only the service may have the secrets.
        let config = match config::load_without_secrets(&self.config) {
            Ok(config) => config,
            Err(error) => {
                let advice = "correct the file; the other checks need it";
                return vec![Finding::wrong("configuration", error.to_string(), advice)];
            }
        };
        let mut findings =
            vec![Finding::ok("configuration", format!("{} is well-formed", self.config.display()))];
        findings.extend(become_user(&config));
        findings.extend(machine::examine(&config));
        findings.extend(state::examine(&config));
        findings.extend(places::examine(&config));
        findings.extend(policies::examine(&config, compiler));
        findings.extend(certificates::examine(&config));
        findings.extend(secrets::examine(&config, &self.config));
        findings.extend(unit::examine());
        findings
    }
}
