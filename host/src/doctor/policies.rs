//! Policies: whether they can be compiled here, and whether that was done already.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::finding::Finding;
use crate::policy::{self, Artifacts, Compiler, Engine};
use crate::state_dir::StateDir;

const SUBJECT: &str = "policies";
/// A small component takes some 20 ms.
const SLOW: Duration = Duration::from_secs(2);

pub fn examine(config: &Config, compiler: Compiler) -> Vec<Finding> {
    if config.policies.is_empty() {
        return Vec::new();
    }
    let begin = Instant::now();
    if let Err(error) = policy::try_out(&compiler) {
        let advice =
            "the compiler is a child process: it needs /proc, and permission to be started";
        return vec![Finding::wrong(SUBJECT, format!("cannot compile: {error}"), advice)];
    }
    let mut findings = vec![compiles(begin.elapsed())];
    let state = StateDir::existing(config.state_dir.as_deref());
    let artifacts = state.and_then(|state| match state {
        Some(state) => Artifacts::look(&state),
        None => Ok(None),
    });
    // Of whom the folder belongs to is another finding.
    let Ok(artifacts) = artifacts else { return findings };
    let Some(artifacts) = artifacts else {
        findings.extend(config.policies.iter().map(|policy| not_kept(&policy.name, None)));
        return findings;
    };
    let engine = match Engine::new(compiler, Some(artifacts)) {
        Ok(engine) => engine,
        Err(error) => {
            let advice = "this machine cannot run policies";
            findings.push(Finding::wrong(SUBJECT, error.to_string(), advice));
            return findings;
        }
    };
    let mut begin = Instant::now();
    let compiled = policy::warm(&engine, &config.policies, |policy, compiled| {
        findings.push(match compiled {
            true => not_kept(policy, Some(begin.elapsed())),
            false => Finding::ok(SUBJECT, format!("`{policy}` is compiled already")),
        });
        begin = Instant::now();
    });
    if let Err(error) = compiled {
        let found = format!("`{}`: {}", error.policy, error.cause);
        findings.push(Finding::wrong(SUBJECT, found, "`karuta check` says where"));
    }
    findings
}

fn compiles(took: Duration) -> Finding {
    let found = format!("a small component is compiled in {} ms", took.as_millis());
    match took > SLOW {
        true => Finding::look(
            SUBJECT,
            found,
            "the machine is busy or slow; starts and reloads will be too",
        ),
        false => Finding::ok(SUBJECT, found),
    }
}

fn not_kept(policy: &str, took: Option<Duration>) -> Finding {
    let took = took.map(|took| format!(", which took {} ms now", took.as_millis()));
    Finding::look(
        SUBJECT,
        format!("`{policy}` has to be compiled at the next start{}", took.unwrap_or_default()),
        "`karuta warm`, as the user that the tracker runs as, does it before",
    )
}
