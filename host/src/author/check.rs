//! `karuta plugin check`: whether the tracker would take a component.

use std::path::Path;

use super::needs::{Grant, Need, needs};
use super::survey::Survey;
use super::{Failure, engine, inspect};
use crate::policy::{Compiler, Component, Setting};

/// Says what a component is and whether this host takes it, as `karuta check` and a reload would.
pub fn check(file: &Path, allow: &[Grant], compiler: &Compiler) -> Result<(), Failure> {
    let fail = |reason: String| Failure::Failed(format!("{}: {reason}", file.display()));
    let bytes = Component::read(file).map_err(fail)?;
    let engine = engine(compiler)?;
    let candidate =
        Component::load(&engine, &bytes).map_err(|refusal| fail(refusal.to_string()))?;
    let setting = Setting { name: "check".into(), ..Setting::default() };
    // A trap comes with its backtrace.
    let one_line = |reason: String| reason.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    candidate.instantiate(&setting).map_err(|reason| fail(one_line(reason)))?;
    let survey = Survey::of(&bytes).map_err(fail)?;
    println!("{}: fine", file.display());
    inspect::print(&bytes, &survey);
    println!("  takes      {}", candidate.footprint());
    for warning in warnings(&survey) {
        println!("  warning    {warning}");
    }
    match needs(&survey).iter().find(|need| !allow.contains(&need.grant)) {
        None => Ok(()),
        Some(Need { grant: Grant::Http, .. }) => Err(fail(
            "calls http.fetch, which the configuration must allow; list what it may ask in \
             `allow: { http: [\"https://…\"] }`, and say `--allow http` here"
                .into(),
        )),
        Some(need) => Err(fail(format!("needs `{}` in the configuration", need.grant.key()))),
    }
}

/// What is no error, but hardly meant.
fn warnings(survey: &Survey) -> Vec<String> {
    let mut warnings = Vec::new();
    let hooks = survey.hooks();
    if hooks == ["lifecycle"] {
        warnings
            .push("it exports no hook beside lifecycle, so that nothing will ever ask it".into());
    }
    let control = hooks.contains(&"ticker") || hooks.contains(&"observer");
    for interface in ["http", "publisher"] {
        if !survey.uses(interface).is_empty() && !control {
            warnings.push(format!(
                "it calls {interface}, which only control instances may, and exports neither \
                 ticker nor observer, so that there is none"
            ));
        }
    }
    warnings
}
