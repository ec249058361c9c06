//! `karuta plugin check`: checks that the tracker would accept a component.

use std::path::Path;

use super::needs::{Grant, Need, needs};
use super::{Failure, engine, inspect};
use crate::policy::{Compiler, Component, Setting};
use crate::survey::Survey;

/// Shows a component, and checks that this host accepts it, as `karuta check` and a reload would.
pub fn check(file: &Path, allow: &[Grant], compiler: &Compiler) -> Result<(), Failure> {
    let fail = |reason: String| Failure::Failed(format!("{}: {reason}", file.display()));
    let bytes = Component::read(file).map_err(fail)?;
    let engine = engine(compiler)?;
    let candidate =
        Component::load(&engine, &bytes).map_err(|refusal| fail(refusal.to_string()))?;
    let setting = Setting { name: "check".into(), ..Setting::default() };
    // A trap includes its backtrace.
    let one_line = |reason: String| reason.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    candidate.instantiate(&setting).map_err(|reason| fail(one_line(reason)))?;
    let survey = Survey::of(&bytes).map_err(fail)?;
    println!("{}: fine", file.display());
    inspect::print(&bytes, &survey);
    println!("  memory     {}", candidate.footprint());
    for warning in warnings(&survey) {
        println!("  warning    {warning}");
    }
    match needs(&survey).iter().find(|need| !allow.contains(&need.grant)) {
        None => Ok(()),
        Some(Need { grant: Grant::Http, .. }) => Err(fail(
            "calls http.fetch, which the configuration must allow; list the URLs in \
             `allow: { http: [\"https://…\"] }`, and pass `--allow http` here"
                .into(),
        )),
        Some(need) => Err(fail(format!("needs `{}` in the configuration", need.grant.key()))),
    }
}

/// Returns problems that are not errors, but probably not intended.
fn warnings(survey: &Survey) -> Vec<String> {
    let mut warnings = Vec::new();
    let hooks = survey.hooks();
    if hooks == ["lifecycle"] {
        warnings.push("it exports no hook except lifecycle, so it is never called".into());
    }
    let control = hooks.contains(&"ticker") || hooks.contains(&"observer");
    for interface in ["http", "publisher"] {
        if !survey.uses(interface).is_empty() && !control {
            warnings.push(format!(
                "it calls {interface}, which only a control instance may do, but it exports neither \
                 ticker nor observer, so it has no control instance"
            ));
        }
    }
    warnings
}
