//! Shared swarms, as the status shows them.

use serde::Serialize;

use super::Admin;
use crate::metrics::{CutOff, Share, ShownNode};

/// How the sharing of swarms goes.
#[derive(Serialize)]
pub struct ShareStatus {
    pub state: ShareState,
    /// What the nodes that share have in common.
    pub name: String,
    /// `cluster` or `single`.
    pub topology: &'static str,
    /// What the engine says it is; `None`: it was never reached.
    pub engine: Option<String>,
    /// How many servers a cluster has.
    pub servers: Option<usize>,
    pub parts: usize,
    /// How long ago this node was last in step with the log.
    pub behind_ms: u64,
    /// `None`: no part is.
    pub cut_off: Option<CutOffStatus>,
    /// Why nothing is shared, if nothing is.
    pub refused: Option<String>,
    /// The others.
    pub nodes: Vec<ShownNode>,
    /// Records of this node, since the start.
    pub sent: u64,
    pub again: u64,
    pub dropped: u64,
    /// Records of others.
    pub applied: u64,
    pub waiting_bytes: u64,
    /// Entries of the log that this node could not read.
    pub refused_entries: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(into = "&'static str")]
pub enum ShareState {
    UpToDate,
    /// The start waits until the log has been read.
    CatchingUp,
    CutOff,
    /// The log is written in another way.
    Refused,
}

impl ShareState {
    /// Returns the name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "up to date",
            Self::CatchingUp => "catching up",
            Self::CutOff => "cut off",
            Self::Refused => "refused",
        }
    }
}

impl From<ShareState> for &'static str {
    fn from(state: ShareState) -> Self {
        state.name()
    }
}

/// What of the swarms is cut off from the engine.
#[derive(Serialize)]
pub struct CutOffStatus {
    /// Counted from 0.
    pub parts: Vec<usize>,
    pub seconds: u64,
    /// In the engine's own words, if it had some.
    pub reason: String,
}

impl ShareStatus {
    /// Returns `None` if swarms are not shared.
    pub fn of(admin: &Admin) -> Option<Self> {
        admin.metrics.share().map(|share| Self::about(share))
    }

    fn about(share: &Share) -> Self {
        let (cut_off, refused, engine) = (share.cut_off(), share.refused(), share.engine());
        let state = match (&refused, &cut_off) {
            (Some(_), _) => ShareState::Refused,
            (None, Some(_)) => ShareState::CutOff,
            _ if share.is_catching_up() => ShareState::CatchingUp,
            _ => ShareState::UpToDate,
        };
        Self {
            state,
            name: share.name.clone(),
            topology: share.topology,
            servers: engine.as_ref().and_then(|engine| engine.servers),
            engine: engine.map(|engine| engine.kind),
            parts: share.parts.len(),
            behind_ms: u64::try_from(share.behind().as_millis()).unwrap_or(u64::MAX),
            cut_off: cut_off.map(|CutOff { parts, lasts, reason }| CutOffStatus {
                parts,
                seconds: lasts.as_secs(),
                reason,
            }),
            refused,
            nodes: share.nodes(),
            sent: share.sum(|part| &part.sent),
            again: share.sum(|part| &part.again),
            dropped: share.sum(|part| &part.dropped),
            applied: share.sum(|part| &part.applied),
            waiting_bytes: share.waiting(),
            refused_entries: share.refusals(),
        }
    }

    /// Says why this node does not hear of others, or they of it; `None`: it does.
    pub fn fault(&self) -> Option<String> {
        if let Some(reason) = &self.refused {
            return Some(format!("swarms are not shared: {reason}"));
        }
        let CutOffStatus { parts, seconds, reason } = self.cut_off.as_ref()?;
        let (parts, last) = (&parts[..parts.len() - 1], parts.last()?);
        let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
        let parts = match &*parts.join(", ") {
            "" => format!("part {last}"),
            first => format!("parts {first} and {last}"),
        };
        Some(format!("{parts} of the shared swarms cut off for {seconds} s: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Direction;

    #[test]
    fn the_fault_names_all_parts_and_the_reason() {
        let share = Share::new("karuta", "single", 3);
        assert_eq!(ShareStatus::about(&share).state, ShareState::CatchingUp);
        share.started();
        let status = ShareStatus::about(&share);
        assert_eq!((status.state, status.fault()), (ShareState::UpToDate, None));
        share.parts[1].failed(Direction::Read, "a:1: refused");
        let status = ShareStatus::about(&share);
        assert_eq!(status.state, ShareState::CutOff);
        let said = "part 1 of the shared swarms cut off for 0 s: a:1: refused";
        assert_eq!(status.fault().as_deref(), Some(said));
        share.parts[2].failed(Direction::Append, "b");
        share.parts[0].failed(Direction::Append, "c");
        let fault = ShareStatus::about(&share).fault().unwrap();
        assert!(fault.starts_with("parts 0, 1 and 2 of"), "{fault}");
        share.set_refused(Some("the log has 8 parts".to_owned()));
        let fault = ShareStatus::about(&share).fault().unwrap();
        assert_eq!(fault, "swarms are not shared: the log has 8 parts");
    }
}
