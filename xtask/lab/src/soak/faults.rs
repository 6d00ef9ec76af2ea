//! What went wrong, kept for the report.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::stream::is_loss;

/// Faults that are kept in words; the others are only counted.
const WORDS_MAX: usize = 100;

/// Faults so far.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    lost: u64,
    other: u64,
    words: Vec<String>,
}

impl Faults {
    /// Notes a fault and says it aloud.
    pub(super) fn note(&self, who: &str, error: &io::Error) {
        let mut noted = self.lock();
        *(if is_loss(error) { &mut noted.lost } else { &mut noted.other }) += 1;
        if noted.words.len() < WORDS_MAX {
            let words = format!("{who}: {error}");
            eprintln!("fault: {words}");
            noted.words.push(words);
        }
    }

    /// How many lost bytes, and how many did something else that is wrong.
    pub(super) fn counts(&self) -> (u64, u64) {
        let noted = self.lock();
        (noted.lost, noted.other)
    }

    /// The first of them in words.
    pub(super) fn words(&self) -> Vec<String> {
        self.lock().words.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
