//! Checks for keys of a file of cases that contradict each other.

use super::schema::{Ask, Call, Case, Expect, File, Wanted};

const ASKS: &str = "`announce`, `scrape`, `rank`, `observe` and `tick`";

/// # Errors
///
/// The path into the file, and the problem there.
pub fn check(file: &File) -> Result<(), (String, String)> {
    if file.cases.is_empty() {
        return Err(("cases".into(), "no cases, expected at least one".into()));
    }
    for (at, case) in file.cases.iter().enumerate() {
        let path = format!("cases[{at}]");
        check_case(case).map_err(|wrong| (path.clone(), wrong))?;
        for (number, call) in case.calls.iter().enumerate() {
            check_call(call).map_err(|wrong| (format!("{path}.calls[{number}]"), wrong))?;
        }
    }
    Ok(())
}

fn check_case(case: &Case) -> Result<(), String> {
    let asks = case.asks();
    let single = !asks.is_empty();
    let wrong = |what: &str| Err(what.to_owned());
    check_asks(&asks, case.expect.as_ref())?;
    match () {
        () if single && !case.calls.is_empty() => {
            wrong("both its own call and `calls`, expected one of them")
        }
        () if case.refused.is_some() && (single || !case.calls.is_empty()) => {
            wrong("a `refused` case cannot have calls")
        }
        () if case.refused.is_none() && !single && case.calls.is_empty() => {
            Err(format!("nothing to do, expected one of {ASKS}, or `calls`, or `refused`"))
        }
        () => Ok(()),
    }
}

fn check_call(call: &Call) -> Result<(), String> {
    if call.refused.is_some() && call.data.is_empty() {
        return Err("`refused` without `data`".to_owned());
    }
    check_asks(&call.asks(), call.expect.as_ref())
}

fn check_asks(asks: &[Ask], expect: Option<&Expect>) -> Result<(), String> {
    let has_verdict = expect.is_some_and(|expect| !matches!(expect.verdict, Wanted::Any));
    match asks {
        [_, _, ..] => Err(format!("more than one of {ASKS}, expected one, or `calls`")),
        [] if expect.is_some() => Err(format!("`expect` without one of {ASKS}")),
        [Ask::Rank(_) | Ask::Observe(_) | Ask::Tick] if has_verdict => {
            Err("only `announce` and `scrape` have a verdict".to_owned())
        }
        _ => Ok(()),
    }
}
