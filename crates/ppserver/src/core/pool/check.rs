//! What checks in a row say of an endpoint.
//!
//! ```text
//! unknown --the first--> up -fall failures-> down
//!      \------------------^ <- rise passes ----^
//! ```
//!
//! Invariant: a result that agrees with the state forgets those that did not.

/// How many results in a row change the state; each at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckTerms {
    /// Passes until one that is down is up.
    pub rise: u32,
    /// Failures until one that is up is down.
    pub fall: u32,
}

/// What is known of an endpoint by its checks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checks {
    state: State,
    /// Results in a row that disagree with the state.
    disagreeing: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Taken for up: a start waits for no check.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Checks {
    /// Takes a result; `Some` when it changes what is known, with whether the endpoint is up now. The first
    /// one decides at once.
    pub fn handle_result(&mut self, has_passed: bool, terms: CheckTerms) -> Option<bool> {
        let needed = match (self.state, has_passed) {
            (State::Unknown, _) => 1,
            (State::Up, true) | (State::Down, false) => {
                self.disagreeing = 0;
                return None;
            }
            (State::Up, false) => terms.fall,
            (State::Down, true) => terms.rise,
        };
        self.disagreeing += 1;
        if self.disagreeing < needed {
            return None;
        }
        self.disagreeing = 0;
        self.state = if has_passed { State::Up } else { State::Down };
        Some(has_passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: CheckTerms = CheckTerms { rise: 2, fall: 3 };

    fn results(results: &[bool]) -> Vec<Option<bool>> {
        let mut checks = Checks::default();
        results.iter().map(|it| checks.handle_result(*it, TERMS)).collect()
    }

    #[test]
    fn the_first_result_decides_and_then_it_takes_as_many_as_the_terms_say() {
        let found = results(&[true, false, false, false, false, true, true, true]);
        let expected = [Some(true), None, None, Some(false), None, None, Some(true), None];
        assert_eq!(found, expected);
        assert_eq!(results(&[false, true, true]), [Some(false), None, Some(true)]);
    }

    #[test]
    fn a_result_between_them_begins_the_row_anew() {
        let found = results(&[true, false, false, true, false, false]);
        assert_eq!(found, [Some(true), None, None, None, None, None]);
        let found = results(&[false, true, false, true, true]);
        assert_eq!(found, [Some(false), None, None, None, Some(true)]);
    }
}
