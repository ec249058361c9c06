//! Preview: what a reload would change, and applying or trying just that.

use std::fmt;

use askama::Template;
use url::form_urlencoded;

use super::number;
use super::viewer::Viewer;
use crate::admin::preview::{ChangedPlugin, PluginFacts, Preview as Previewed};
use crate::admin::reload::WantedReload;
use crate::config::Right;
use crate::replay::{Change, Counted, Example};

#[derive(Template)]
#[template(path = "preview.html")]
pub struct Preview {
    /// `None`: nobody has asked.
    result: Option<Result<Previewed, String>>,
    lacks: Option<&'static str>,
}

impl Preview {
    pub fn of(viewer: &Viewer, result: Option<Result<Previewed, String>>) -> Self {
        Self { result, lacks: viewer.lacks(&Right::Reload) }
    }
}

/// Returns what a form of this panel, or of Reload, asks for.
///
/// # Errors
///
/// What is wrong with it.
pub fn wanted(form: &str) -> Result<WantedReload, String> {
    let mut wanted = WantedReload::default();
    let (mut tries, mut time, mut max_change) = (false, String::new(), String::new());
    for (name, value) in
        form_urlencoded::parse(form.as_bytes()).filter(|(_, value)| !value.is_empty())
    {
        let value = value.trim().to_owned();
        match &*name {
            "expect" => wanted.expect = Some(value),
            "previewed" => wanted.previewed = Some(value),
            "anyway" => wanted.anyway = true,
            "how" => tries = value == "try",
            "try" => time = value,
            "max_change" => max_change = value,
            _ => {}
        }
    }
    if tries {
        let number = max_change.trim_end_matches('%').trim().parse();
        let number =
            number.map_err(|_| format!("`{max_change}` is no number of percentage points"));
        (wanted.try_for, wanted.max_change) = (Some(time), Some(number?));
    }
    Ok(wanted)
}

/// Returns a text from outside as the beginning of a sentence.
fn capital(text: &impl fmt::Display) -> String {
    let text = number::outside(text).to_string();
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + rest.as_str()
}

/// Returns what is different.
fn different(change: &Change) -> &str {
    if change.what == "decided_by" { "who decides" } else { &change.what }
}

/// Returns the most frequent ones, with how often they are there.
fn most(counted: &[Counted]) -> String {
    let three = counted.iter().take(3).map(|one| format!("{} ({})", one.name, one.count));
    three.collect::<Vec<_>>().join(" ")
}

/// Returns a request, and what it is told after.
fn shown(example: &Example) -> String {
    let Example { action, info_hash, client, agent, reasons: [_, after], .. } = example;
    let told = if after.is_empty() { String::new() } else { format!(": {after}") };
    format!("{action} of {info_hash} from {client} {agent}{told}")
}

/// Returns a plugin before and after.
fn both(plugin: &ChangedPlugin) -> [(&'static str, &Option<PluginFacts>); 2] {
    [("before", &plugin.before), ("after", &plugin.after)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_button_says_whether_it_is_tried() {
        let fields = "previewed=ab&try=5m&max_change=2.5%25";
        let applied = wanted(&format!("{fields}&how=apply")).unwrap();
        assert_eq!((applied.previewed.as_deref(), applied.try_for), (Some("ab"), None));
        let tried = wanted(&format!("{fields}&how=try")).unwrap();
        assert_eq!((tried.try_for.as_deref(), tried.max_change), (Some("5m"), Some(2.5)));
        assert!(wanted("how=try&try=5m&max_change=few").is_err());
        assert_eq!(wanted("expect="), Ok(WantedReload::default()));
    }
}
