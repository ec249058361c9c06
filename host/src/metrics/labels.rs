//! The values of labels: closed sets, so that no client can make series.

use karuta_bittorrent::{Family, Transport};

/// Declares an enum of label values, with a list of all of them.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the label value.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

label! {
    /// The kind of request.
    Action { Connect => "connect", Announce => "announce", Scrape => "scrape" }
}

label! {
    /// The outcome of a request.
    Outcome {
        Ok => "ok",
        Rejected => "rejected",
        Dropped => "dropped",
        Invalid => "invalid",
        Error => "error",
    }
}

label! {
    /// A function that plugins export.
    Hook {
        Announce => "announce",
        Scrape => "scrape",
        Rank => "rank",
        Observe => "observe",
        Data => "data",
        Tick => "tick",
        Init => "init",
    }
}

label! {
    /// The outcome of a reload.
    Reload {
        Applied => "applied",
        Unchanged => "unchanged",
        Refused => "refused",
        TakenBack => "taken_back",
    }
}

label! {
    /// What became of a snapshot: written or not, damaged or refused when it was read.
    SnapshotOutcome {
        Written => "written",
        Failed => "failed",
        Damaged => "damaged",
        Refused => "refused",
    }
}

label! {
    /// The outcome of a hook call.
    Verdict {
        Next => "next",
        Accept => "accept",
        Reject => "reject",
        Drop => "drop",
        Ok => "ok",
        Error => "error",
    }
}

label! {
    /// What a policy in shadow mode would have done.
    Would {
        Pass => "pass",
        Reject => "reject",
        Drop => "drop",
        Change => "change",
        Error => "error",
    }
}

label! {
    /// Why a call did not return.
    Cause {
        Trap => "trap",
        Deadline => "deadline",
        Memory => "memory",
        Stack => "stack",
        Host => "host",
        Refused => "refused",
        Unavailable => "unavailable",
    }
}

label! {
    /// A request to the engine of shared swarms. The table is that of the nodes.
    ShareError { Connect => "connect", Append => "append", Read => "read", Table => "table" }
}

pub const TRANSPORTS: [(Transport, &str); 3] =
    [(Transport::Udp, "udp"), (Transport::Http, "http"), (Transport::Https, "https")];
pub const FAMILIES: [(Family, &str); 2] = [(Family::Ipv4, "ipv4"), (Family::Ipv6, "ipv6")];
