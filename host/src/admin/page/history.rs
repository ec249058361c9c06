//! History: the generations that have served, how they differ, and going back to one.

use askama::Template;

use super::number;
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::generations::{OtherPlugin, ShownDifference, ShownHistory};
use crate::config::Right;

#[derive(Template)]
#[template(path = "history.html")]
pub struct History {
    history: ShownHistory,
    asked: Asked,
    /// What going back to the generation that was asked for would change.
    back: Option<Result<ShownDifference, String>>,
    compared: Option<Result<ShownDifference, String>>,
    path: String,
    lacks: Option<&'static str>,
    now: u64,
}

/// What is asked for.
#[derive(Clone, Default)]
pub struct Asked {
    /// The generation to go back to.
    pub back: String,
    /// The generations to compare; the second one may be missing.
    pub diff_from: String,
    pub diff_to: String,
    /// Why a form did nothing.
    pub fault: Option<String>,
}

impl History {
    pub fn of(admin: &Admin, viewer: &Viewer, asked: Asked, now: u64) -> Self {
        let read = |text: &str| {
            let number = text.trim().parse::<u64>();
            number.map_err(|_| format!("`{text}` is not the number of a generation"))
        };
        let is_asked = |text: &str| !text.trim().is_empty();
        let serving = admin.metrics.generation();
        let back = is_asked(&asked.back).then(|| {
            let to = read(&asked.back)?;
            ShownDifference::of(admin, serving, Some(to))
        });
        let compared = is_asked(&asked.diff_from).then(|| {
            let to = is_asked(&asked.diff_to).then(|| read(&asked.diff_to)).transpose()?;
            ShownDifference::of(admin, read(&asked.diff_from)?, to)
        });
        Self {
            history: ShownHistory::of(admin),
            back,
            compared,
            path: admin.configuration.path(),
            lacks: viewer.lacks(&Right::Reload),
            asked,
            now,
        }
    }
}

/// Says what becomes of a plugin.
fn becomes(plugin: &OtherPlugin) -> String {
    match (&plugin.before, &plugin.after) {
        (Some(before), Some(after)) => {
            let [before, after] = [before, after].map(|digest| number::short(digest));
            format!("plugin {before} becomes {after}")
        }
        (Some(_), None) => "is removed".to_owned(),
        (None, _) => "is added".to_owned(),
    }
}
