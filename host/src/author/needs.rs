//! What a component asks of its configuration.

use super::survey::Survey;

/// What a configuration may grant to a policy's control instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Grant {
    Http,
    Env,
    Folders,
}

/// A grant that a component is of little use without.
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

/// What a component asks of its configuration. WASI's files and variables are no sign of it: the
/// runtimes of languages import them unasked.
pub fn needs(survey: &Survey) -> Vec<Need> {
    let fetches = !survey.uses("http").is_empty();
    let need = Need { grant: Grant::Http, why: "it calls http.fetch" };
    fetches.then_some(need).into_iter().collect()
}
