//! What a check of `karuta doctor` has found, as the command and the dashboard show it.

use std::fmt;

use serde::Serialize;

use crate::text::Escaped;

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    pub level: Level,
    /// What was examined.
    pub subject: &'static str,
    pub found: String,
    /// What to do, unless it is well.
    pub advice: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, but you may want to change it.
    Look,
    /// Something does not work, or is not safe.
    Wrong,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::Wrong => "wrong",
        }
    }
}

impl Finding {
    pub fn ok(subject: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, found: found.into(), advice: None }
    }

    pub fn look(
        subject: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { level: Level::Look, subject, found: found.into(), advice: Some(advice.into()) }
    }

    pub fn wrong(
        subject: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { level: Level::Wrong, subject, found: found.into(), advice: Some(advice.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.level.name();
        write!(f, "{word:<5}  {:<14}  {}", self.subject, Escaped(&self.found))?;
        match &self.advice {
            Some(advice) => write!(f, "; {}", Escaped(advice)),
            None => Ok(()),
        }
    }
}
