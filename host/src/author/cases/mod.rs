//! `karuta plugin test`: runs a component against a file of cases, with the host's own code.

mod check;
mod compare;
mod junit;
mod log;
mod question;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::schema::{Ask, Call, Case, Expect, File};
use super::Failure;
use crate::config::{self, Source, Tracker};
use crate::file;
use crate::policy::{Compiler, Component, Given, Question, Setting, Trial};
use crate::text::Escaped;

/// A file of cases, with the position of everything in it.
pub struct Cases {
    file: File,
    source: Source,
    folder: PathBuf,
}

/// The maximum size of a data file in bytes.
const MAX_DATA: u64 = 64 << 20;

/// The result of one case.
pub struct Outcome {
    pub name: String,
    /// Its position in the file of cases.
    pub place: String,
    /// The differences from what was expected, one per line.
    pub differences: Vec<String>,
    pub logs: Vec<String>,
    pub took: Duration,
}

impl Outcome {
    pub fn is_fine(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Runs the cases; fails if any of them fails.
pub fn test(
    component: &Path,
    cases: &Path,
    junit: Option<&Path>,
    compiler: &Compiler,
) -> Result<(), Failure> {
    let cases = Cases::read(cases)?;
    let candidate = load(component, compiler)?;
    let name = name_of(component);
    let outcomes = cases.run(&candidate, &name);
    for outcome in &outcomes {
        if outcome.is_fine() {
            println!("ok    {}", Escaped(&outcome.name));
            continue;
        }
        println!("FAIL  {} ({})", Escaped(&outcome.name), outcome.place);
        outcome.differences.iter().for_each(|line| println!("      {}", Escaped(line)));
        outcome.logs.iter().for_each(|line| println!("      log  {}", Escaped(line)));
    }
    if let Some(file) = junit {
        fs::write(file, junit::report(&name, &outcomes))
            .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.is_fine()).count();
    match failed {
        0 => {
            println!("{name}: all {} cases passed", outcomes.len());
            Ok(())
        }
        _ => Err(Failure::Failed(format!("{name}: {failed} of {} cases failed", outcomes.len()))),
    }
}

/// Compiles and links a component for a trial.
pub fn load(file: &Path, compiler: &Compiler) -> Result<Component, Failure> {
    let fail = |reason: String| Failure::Usage(format!("{}: {reason}", file.display()));
    let bytes = Component::read(file).map_err(fail)?;
    let engine = super::engine(compiler)?;
    let candidate =
        Component::load(&engine, &bytes).map_err(|refusal| fail(refusal.to_string()))?;
    Ok(candidate)
}

/// Returns the default name of a component: its file name without the extension.
pub fn name_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl Cases {
    /// # Errors
    ///
    /// The first problem in the file, with its position.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let usage = |error: config::Error| Failure::Usage(error.to_string());
        let (file, source) = config::load_as::<File>(path).map_err(usage)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let cases = Self { file, source, folder };
        check::check(&cases.file)
            .map_err(|(path, wrong)| usage(cases.source.error(&path, wrong)))?;
        Ok(cases)
    }

    /// Runs all cases in order, each independently.
    pub fn run(&self, candidate: &Component, name: &str) -> Vec<Outcome> {
        let run = |(at, case): (usize, &Case)| {
            let start = Instant::now();
            let mut outcome = Outcome {
                name: case.name.clone(),
                place: self.source.place(&format!("cases[{at}]")),
                differences: Vec::new(),
                logs: Vec::new(),
                took: Duration::ZERO,
            };
            if let Err(reason) = self.play(candidate, name, case, &mut outcome) {
                outcome.differences.push(reason);
            }
            outcome.took = start.elapsed();
            outcome
        };
        self.file.cases.iter().enumerate().map(run).collect()
    }

    fn play(
        &self,
        candidate: &Component,
        name: &str,
        case: &Case,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let setting = self.setting(case, name)?;
        let (started, logs) = log::capture(|| Trial::start(candidate, &setting));
        outcome.logs = logs;
        let mut trial = match (started, &case.refused) {
            (Ok(trial), None) => trial,
            (Ok(_), Some(text)) => return Err(differs("refused", text, "it is accepted")),
            (Err(reason), Some(text)) if reason.contains(text.as_str()) => return Ok(()),
            (Err(reason), Some(text)) => return Err(differs("refused", text, &reason)),
            (Err(reason), None) => return Err(format!("it is refused: {reason}")),
        };
        if let [only] = case.asks()[..] {
            return ask(&mut trial, only, case.expect.as_ref(), "", outcome);
        }
        for (at, call) in case.calls.iter().enumerate() {
            self.call(&mut trial, call, &format!("call {}: ", at + 1), outcome)?;
        }
        Ok(())
    }

    fn call(
        &self,
        trial: &mut Trial,
        call: &Call,
        which: &str,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        trial.advance(call.after);
        for (name, version) in &call.data {
            let schema::Version { lines, text, file } = version;
            let bytes = self.bytes(lines.as_ref(), text.as_ref(), file.as_ref())?;
            let (offered, logs) = log::capture(|| trial.offer(name, &bytes));
            outcome.logs.extend(logs);
            match (offered, &call.refused) {
                (Ok(()), None) => {}
                (Err(reason), Some(text)) if reason.contains(text.as_str()) => {}
                (Ok(()), Some(text)) => {
                    outcome
                        .differences
                        .push(which.to_owned() + &differs("refused", text, "it is accepted"));
                }
                (Err(reason), Some(text)) => {
                    outcome.differences.push(which.to_owned() + &differs("refused", text, &reason));
                }
                (Err(reason), None) => return Err(format!("{which}data is refused: {reason}")),
            }
        }
        trial.answer(question::answers(&call.http)?);
        match call.asks()[..] {
            [only] => ask(trial, only, call.expect.as_ref(), which, outcome),
            _ => Ok(()),
        }
    }

    fn setting(&self, case: &Case, name: &str) -> Result<Setting, String> {
        let file = &self.file;
        let data = case.data.as_ref().unwrap_or(&file.data);
        let given = |(name, source): (&String, &schema::Source)| {
            let schema::Source { format, lines, text, file } = source;
            let bytes = self.bytes(lines.as_ref(), text.as_ref(), file.as_ref());
            let bytes = bytes.map_err(|reason| format!("data `{name}`: {reason}"))?;
            Ok((name.clone(), Given { format: *format, bytes }))
        };
        let swarms = case.swarms.as_ref().unwrap_or(&file.swarms).iter();
        let defaults = Tracker::default();
        Ok(Setting {
            name: name.to_owned(),
            config: case.config.as_ref().unwrap_or(&file.config).clone(),
            credential: case.credential.as_ref().unwrap_or(&file.credential).clone(),
            data: data.iter().map(given).collect::<Result<_, String>>()?,
            keyvalues: case.keyvalues.as_ref().unwrap_or(&file.keyvalues).clone(),
            clock: case.clock.unwrap_or(file.clock).0,
            seed: case.seed.unwrap_or(file.seed),
            limits: case.limits.unwrap_or(file.limits),
            swarms: swarms.map(|(hash, counts)| (hash.0, question::counts(*counts))).collect(),
            http: question::answers(case.http.as_ref().unwrap_or(&file.http))?,
            max_interval: u32::try_from(defaults.max_interval.as_secs()).unwrap_or(u32::MAX),
            max_num_want: defaults.num_want.max,
        })
    }

    fn bytes(
        &self,
        lines: Option<&Vec<String>>,
        text: Option<&String>,
        file: Option<&PathBuf>,
    ) -> Result<Vec<u8>, String> {
        match (lines, text, file) {
            (Some(lines), None, None) => Ok(lines.join("\n").into_bytes()),
            (None, Some(text), None) => Ok(text.clone().into_bytes()),
            (None, None, Some(file)) => {
                file::read(&self.folder.join(file), MAX_DATA).map_err(|unread| unread.to_string())
            }
            _ => Err("expected one of `lines`, `text` and `file`".into()),
        }
    }

    /// Returns the last call of each case that starts, to be measured: a name, a plugin and a
    /// request.
    pub fn to_measure(&self, candidate: &Component, name: &str) -> Result<Vec<Measured>, Failure> {
        let mut list = Vec::new();
        for case in self.file.cases.iter().filter(|case| case.refused.is_none()) {
            let asks = case.asks().into_iter().chain(case.calls.iter().flat_map(Call::asks));
            let Some(last) = asks.last() else { continue };
            let setting = self.setting(case, name)?;
            let trial = Trial::start(candidate, &setting);
            list.push(Measured {
                name: case.name.clone(),
                trial: trial.map_err(|reason| format!("{}: {reason}", case.name))?,
                question: question::of(last)?,
            });
        }
        Ok(list)
    }
}

/// A call to be measured.
pub struct Measured {
    pub name: String,
    pub trial: Trial,
    pub question: Question,
}

fn ask(
    trial: &mut Trial,
    what: Ask,
    expect: Option<&Expect>,
    which: &str,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut question = question::of(what)?;
    let (said, logs) = log::capture(|| trial.ask(&mut question));
    let said = said?;
    let nothing = Expect::default();
    let expect = expect.unwrap_or(&nothing);
    let values = |key: &str| trial.value(key.as_bytes());
    let differences = compare::differences(expect, &said, &logs, values);
    outcome.differences.extend(differences.into_iter().map(|line| which.to_owned() + &line));
    outcome.logs.extend(logs);
    Ok(())
}

/// Formats how a field differs.
fn differs(field: &str, expected: &str, found: &str) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    format!("{field}: expected {}, got {}", quoted(expected), quoted(found))
}
