//! Why a datagram went nowhere: one word for counters, logs and the simulator.

use crate::core::words::words;

words! {
    /// Why a datagram was dropped. Each that came in is sent, or dropped for exactly one reason.
    DropReason {
        /// Its peer may not speak to this listener.
        Untrusted, "untrusted";
        /// It has no header, and one is required.
        HeaderAbsent, "header_absent";
        /// Its header breaks a rule.
        HeaderInvalid, "header_invalid";
        /// It ends inside its header.
        HeaderTruncated, "header_truncated";
        /// A LOCAL header, answered here.
        LocalAnswered, "local_answered";
        /// A LOCAL header, where the listener rejects them.
        LocalRejected, "local_rejected";
        /// It was longer than the buffer that it was received into.
        Cut, "cut";
        /// A route denies it.
        Denied, "denied";
        /// Its client, or the listener, has as many as it may.
        Limited, "limited";
        /// A new flow, and the listener drains.
        Draining, "draining";
        /// The upstream has no endpoint that may be tried.
        NoEndpoint, "no_endpoint";
        /// Every endpoint of the upstream has as many as it may.
        EndpointsFull, "endpoints_full";
        /// The system gave no descriptor, port or memory.
        Resources, "resources";
        /// The header we would have to send is too long for the format.
        HeaderTooLong, "header_too_long";
        /// With the header that we send it is longer than a datagram may be, or than the path takes.
        TooLong, "too_long";
        /// Nobody listens where it was sent to, twice.
        Refused, "refused";
        /// The socket had no room for it.
        Blocked, "blocked";
        /// It could not be sent for another reason.
        SendFailed, "send_failed";
        /// Its flow had ended.
        NoFlow, "no_flow";
        /// An answer whose header is not that of its flow.
        AnswerInvalid, "answer_invalid";
    }
}
