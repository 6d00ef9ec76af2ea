//! The tables of docs/reliability.md: every rule of the simulator and every planted bug has its row, and nothing else
//! stands there.
//!
//! At which seed a bug is found moves with the simulator, and `cargo xtask mutants` prints it.

use std::collections::BTreeSet;

use super::source::Source;
use super::{Violation, tables};

const PAGE: &str = "docs/reliability.md";
const ORACLE: &str = "crates/ppserver/src/core/sim/oracle.rs";

/// Checks the page against the simulator's rules, and planted bugs, each with what it stands for.
pub(super) fn check<'a>(
    sources: &[Source],
    mutants: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<Violation> {
    let rules = rules(sources);
    let Some(page) = sources.iter().find(|it| it.path == PAGE).filter(|_| !rules.is_empty()) else {
        return vec![Violation::new(PAGE, 1, format!("there is no page, or no rule in {ORACLE}"))];
    };
    let mut found = Vec::new();
    let mut missing = rules.clone();
    for row in tables::rows(&page.text, "rule") {
        for name in row.cells[0].split(", ") {
            missing.remove(name);
            if !rules.contains(name) {
                found.push(Violation::new(PAGE, row.line, format!("there is no rule {name}")));
            }
        }
    }
    let mut left: Vec<_> = mutants.collect();
    for row in tables::rows(&page.text, "mutant") {
        let name = tables::code(row.cells[0]).next();
        let [_, rule, _, origin] = row.cells[..] else {
            found.push(Violation::new(PAGE, row.line, "a row is mutant, rule, seed and origin"));
            continue;
        };
        if !rules.contains(rule) {
            found.push(Violation::new(PAGE, row.line, format!("there is no rule {rule}")));
        }
        match left.iter().position(|(mutant, _)| Some(*mutant) == name) {
            Some(at) if left.remove(at).1 == origin => {}
            Some(_) => {
                found.push(Violation::new(PAGE, row.line, "it stands for something else"));
            }
            None => {
                found.push(Violation::new(PAGE, row.line, "there is no such mutant"));
            }
        }
    }
    let rules = missing.into_iter().map(|rule| format!("the rule {rule}"));
    let mutants = left.into_iter().map(|(name, _)| format!("the mutant `{name}`"));
    let row = |what| Violation::new(PAGE, 1, format!("{what} has no row"));
    found.extend(rules.chain(mutants).map(row));
    found
}

/// The names of the rules.
fn rules(sources: &[Source]) -> BTreeSet<String> {
    let syntax = sources.iter().find(|source| source.path == ORACLE);
    let Some(Ok(syntax)) = syntax.and_then(|source| source.syntax.as_ref()) else {
        return BTreeSet::new();
    };
    let rules = syntax.items.iter().filter_map(|item| {
        let syn::Item::Enum(item) = item else { return None };
        (item.ident == "Rule").then_some(&item.variants)
    });
    rules.flatten().map(|rule| rule.ident.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(rules: &str, mutants: &str) -> Vec<String> {
        let page = format!(
            "| rule | |\n|---|---|\n{rules}\n\n| mutant | found by | at seed | stands for |\n\
             |---|---|---|---|\n{mutants}"
        );
        let oracle = Source::new(ORACLE, "enum Rule { Fin, Tail }");
        let found = check(&[oracle, Source::new(PAGE, &page)], [("a-b", "x#1")].into_iter());
        found.into_iter().map(|violation| violation.reason).collect()
    }

    #[test]
    fn tables_that_have_everything_are_clean() {
        let mutants = "| `a-b` | Fin | 7 | x#1 |";
        assert_eq!(reasons("| Fin, Tail | why |", mutants), [""; 0]);
        // Some are said of more than one machine.
        assert_eq!(reasons("| Tail | why |\n| Fin, Tail | why |", mutants), [""; 0]);
    }

    #[test]
    fn what_is_missing_and_what_is_not_there_are_found() {
        let found = reasons("| Fin, Spin | why |", "| `c-d` | Spin | 7 | x#1 |");
        let expected = [
            "there is no rule Spin",
            "there is no rule Spin",
            "there is no such mutant",
            "the rule Tail has no row",
            "the mutant `a-b` has no row",
        ];
        assert_eq!(found, expected);
        let rules = "| Fin, Tail | why |";
        assert_eq!(reasons(rules, "| `a-b` | Fin | 7 | y |"), ["it stands for something else"]);
        let [short, none] = &reasons(rules, "| `a-b` | Fin |")[..] else { panic!("two") };
        assert_eq!(short, "a row is mutant, rule, seed and origin");
        assert_eq!(none, "the mutant `a-b` has no row");
    }

    #[test]
    fn a_simulator_without_rules_is_found() {
        assert_eq!(check(&[Source::new(PAGE, "")], std::iter::empty()).len(), 1);
    }
}
