//! Whether to try before an event says that it is time, learned from how the last tries went.
//!
//! A try that comes too early costs a system call, one that succeeds saves a wait. Which of them it will be
//! depends on who is at the other end and how far away, so the last ones are the best guess.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The most connections that wait for their event before the next try: what never succeeds costs next to
/// nothing then.
const PAUSE_MAX: usize = 256;

/// What the last tries have taught. Written by one worker only; atomic because connections share it.
#[derive(Debug)]
pub struct Early {
    /// Connections that still wait before the next try.
    pause: AtomicUsize,
    /// The pause behind the next try that comes too early; each one in a row doubles it.
    next_pause: AtomicUsize,
}

impl Early {
    /// Begins with a try.
    #[expect(clippy::new_without_default, reason = "it begins, it has no default")]
    pub const fn new() -> Self {
        Self { pause: AtomicUsize::new(0), next_pause: AtomicUsize::new(1) }
    }

    /// Says whether the next connection is to try.
    pub fn is_due(&self) -> bool {
        let pause = self.pause.load(Ordering::Relaxed);
        self.pause.store(pause.saturating_sub(1), Ordering::Relaxed);
        pause == 0
    }

    /// A try was made: it succeeded, or came too early. One that began before the last one had failed
    /// teaches nothing new.
    pub fn handle_tried(&self, is_too_early: bool) {
        let (pause, next) = if is_too_early {
            if self.pause.load(Ordering::Relaxed) > 0 {
                return;
            }
            let pause = self.next_pause.load(Ordering::Relaxed);
            (pause, (2 * pause).min(PAUSE_MAX))
        } else {
            (0, 1)
        };
        self.pause.store(pause, Ordering::Relaxed);
        self.next_pause.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many connections wait before the next one tries.
    fn pause(early: &Early) -> usize {
        (0..).take_while(|_| !early.is_due()).count()
    }

    #[test]
    fn tries_become_rare_while_they_come_too_early_and_usual_once_one_succeeds() {
        let early = Early::new();
        assert_eq!(pause(&early), 0);
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 256] {
            early.handle_tried(true);
            assert_eq!(pause(&early), expected);
        }
        early.handle_tried(false);
        assert_eq!(pause(&early), 0);
        early.handle_tried(true);
        assert_eq!(pause(&early), 1);
    }

    #[test]
    fn tries_made_at_once_fail_as_one() {
        let early = Early::new();
        assert!((0..64).all(|_| early.is_due()));
        (0..64).for_each(|_| early.handle_tried(true));
        assert_eq!(pause(&early), 1);
        early.handle_tried(true);
        assert_eq!(pause(&early), 2);
    }
}
