//! Routes that no connection takes.

use crate::config::codes::Code;
use crate::config::diagnostics::Diagnostics;
use crate::config::validate::ListenerDraft;
use crate::core::route::When;

/// One before it takes all of its connections.
pub(super) fn unreachable(listener: &ListenerDraft, faults: &mut Diagnostics) {
    let mut before: Vec<(usize, &When)> = Vec::new();
    for (route, number) in listener.routes.iter().zip(1..) {
        let Some(when) = &route.when.value else { continue };
        match before.iter().find(|(_, earlier)| earlier.covers(when)) {
            Some((earlier, _)) => {
                let message =
                    format!("no connection takes route {number}: route {earlier} takes them all");
                faults.add(Code::UnreachableRoute, route.place.clone(), message).with_help(
                    "the first that holds is taken: put this one in front, or remove it",
                );
            }
            None => before.push((number, when)),
        }
    }
}
