//! Why a flow of datagrams ended: one word for logs and the simulator.

use crate::core::words::words;

words! {
    /// Why a flow ended.
    EndReason {
        /// It had as many answers as were to come.
        Done, "done";
        /// No datagram came either way for too long.
        Silent, "idle_timeout";
        /// It never had an answer, and no datagram came for too long.
        Unanswered, "unanswered";
        /// It gave way to somebody who came later.
        Evicted, "evicted";
        /// Its listener reads datagrams otherwise since a reload, or is gone and left it no socket.
        Reloaded, "reloaded";
        /// The process stops, and the flow outlived the grace period.
        Drained, "drained";
        /// An operator closed it.
        ClosedByAdmin, "closed_by_admin";
    }
}
