//! The life of a connection: header, trust, upstream, payload, ends and resets.
