//! Whether the kernel's clock follows others.

/// Returns whether something keeps the clock synchronised; `None` if the kernel does not say.
#[allow(unsafe_code, reason = "neither std nor nix asks the kernel about its clock")]
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: a `timex` is numbers only, for which 0 is a value. Its modes are 0, so that the kernel
    // changes nothing and fills it in.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0)
}
