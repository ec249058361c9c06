//! Preview: what a reload would change, and applying or trying just that.

use askama::Template;
use url::form_urlencoded;

use super::number;
use super::viewer::Viewer;
use crate::admin::preview::{ChangedPlugin, PluginFacts, Preview as Previewed};
use crate::admin::reload::WantedReload;
use crate::config::Right;

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
