//! What the process gives up before it does anything else: it never needs more than to bind low ports, at its
//! start, at reloads, and in the program that an upgrade starts.
//!
//! Capabilities belong to threads (capabilities(7)). Invariant: this comes before the first thread is started.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    set_capabilities, set_no_new_privs,
};

/// What is kept, if it is there.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Gives up every other capability, and that anything started from here may gain one.
///
/// # Errors
/// When the system refuses, as a filter of system calls may; what there is to be kept is there all the same.
pub(super) fn give_up() -> io::Result<()> {
    set_no_new_privs(true)?;
    let held = capabilities(None)?;
    let kept = held.permitted & KEPT;
    let wanted = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    if held != wanted {
        set_capabilities(None, wanted)?;
    }
    if !kept.is_empty() {
        // A user other than root loses across execve(2) what is not ambient.
        configure_capability_in_ambient_set(KEPT, true)?;
    }
    Ok(())
}
