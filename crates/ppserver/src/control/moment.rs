//! A moment that is waited for, if there is one.

use tokio::time::{Instant, sleep_until};

/// Waits for it; for ever, if there is none.
pub(super) async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
