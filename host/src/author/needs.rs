//! What a component requires in its configuration.

use crate::survey::Survey;

/// What a configuration may grant to a policy's control instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Grant {
    Http,
    Env,
    Folders,
}

/// A grant without which a component is of little use.
pub struct Need {
    pub grant: Grant,
    why: &'static str,
}

impl Need {
    pub fn text(&self) -> String {
        format!("{} ({})", self.grant.key(), self.why)
    }
}

impl Grant {
    pub fn key(self) -> &'static str {
        match self {
            Self::Http => "allow.http",
            Self::Env => "allow.env",
            Self::Folders => "allow.folders",
        }
    }
}

/// Returns what a component requires in its configuration. Imports of WASI's files and variables do
/// not count: the runtimes of languages import them anyway.
pub fn needs(survey: &Survey) -> Vec<Need> {
    let fetches = !survey.uses("http").is_empty();
    let need = Need { grant: Grant::Http, why: "it calls http.fetch" };
    fetches.then_some(need).into_iter().collect()
}
