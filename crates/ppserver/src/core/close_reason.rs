//! Why a session ended: one word for logs, counters and the simulator.
//!
//! A new reason is a line here, and
//!
//! | where | what |
//! |---|---|
//! | docs/operations.md | its row in the table of reasons |
//! | `core/sim/stage.rs` | when a session must end with it |
//! | `core/sim/coverage.rs` | only if no simulated session can end with it |
//! | `telemetry/refusals.rs` | its words, if somebody is refused for it |
//! | tests/e2e/life/counters.rs | its place among all |

use super::words::words;

words! {
    /// Why a session ended. Each ends with exactly one, which also indexes the counters.
    CloseReason {
        /// Both directions ended with a FIN, and every byte was passed on.
        Done, "done";
        /// The peer closed before its first byte, as TCP health checks do.
        Probe, "probe";
        /// A LOCAL header, answered here.
        LocalAnswered, "local_answered";
        /// A LOCAL header, where the listener rejects them.
        LocalRejected, "local_rejected";
        /// The peer may not speak to this listener.
        Untrusted, "untrusted";
        /// The bytes are no header, and one is required.
        HeaderAbsent, "header_absent";
        /// The header breaks a rule.
        HeaderInvalid, "header_invalid";
        /// The peer closed inside its header.
        HeaderTruncated, "header_truncated";
        /// The header did not come in time.
        HeaderTimeout, "header_timeout";
        /// The header we would have to send is too long for the format.
        HeaderTooLong, "header_too_long";
        /// The client, or the listener, has as many connections as it may, or too many came at once.
        Limited, "limited";
        /// A route that denies.
        Denied, "denied";
        /// The upstream has no endpoint that may be tried.
        NoEndpoint, "no_endpoint";
        /// Every endpoint of the upstream has as many connections as it may.
        EndpointsFull, "endpoints_full";
        /// No endpoint could be connected to.
        ConnectFailed, "connect_failed";
        /// The last endpoint tried did not answer in time.
        ConnectTimeout, "connect_timeout";
        /// The client reset the connection, or its path broke.
        ClientReset, "client_reset";
        /// The upstream reset the connection, or its path broke.
        UpstreamReset, "upstream_reset";
        /// No byte went either way for too long.
        IdleTimeout, "idle_timeout";
        /// No byte went the other way for too long after one side had ended.
        HalfClosedTimeout, "half_closed_timeout";
        /// The table of connections was full.
        Overload, "overload";
        /// The process stops, and the session outlived the grace period.
        Drained, "drained";
        /// An operator closed it.
        ClosedByAdmin, "closed_by_admin";
        /// Its endpoint went down, and the upstream does not keep connections then.
        EndpointDown, "endpoint_down";
        /// The system gave no descriptor or memory.
        Resources, "resources";
        /// Its worker failed, and all its connections with it.
        WorkerFailed, "worker_failed";
    }
}
