//! What the process gives up before it does anything else: it never needs more than to bind low ports, at its
//! start, at reloads, and in the program that an upgrade starts; and to come from addresses of clients, if its
//! configuration says so.
//!
//! Capabilities belong to threads (capabilities(7)). Invariant: this comes before the first thread is started that
//! stays.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    set_capabilities, set_no_new_privs,
};

/// What is kept, if it is there.
const KEPT: [CapabilitySet; 2] = [CapabilitySet::NET_BIND_SERVICE, SPOOF];

/// What connections from addresses of clients take (ip(7), IP_TRANSPARENT).
const SPOOF: CapabilitySet = CapabilitySet::NET_RAW;

/// Gives up every other capability, and that anything started from here may gain one.
///
/// # Errors
/// When the system refuses, as a filter of system calls may; what there is to be kept is there all the same.
pub(super) fn give_up() -> io::Result<()> {
    set_no_new_privs(true)?;
    let [bind, spoof] = KEPT;
    keep(bind | spoof)
}

/// Gives up coming from addresses of clients too, for good: this is for a configuration that does not ask for it, and
/// comes before any thread is started but one that has read the file and is over.
///
/// # Errors
/// When the system refuses.
pub(super) fn give_up_spoofing() -> io::Result<()> {
    let [bind, _] = KEPT;
    keep(bind)
}

fn keep(wanted: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    let kept = held.permitted & wanted;
    let wanted = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    if held != wanted {
        // What is no longer inheritable is not ambient either.
        set_capabilities(None, wanted)?;
    }
    for capability in KEPT.into_iter().filter(|capability| kept.contains(*capability)) {
        // A user other than root loses across execve(2) what is not ambient.
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
