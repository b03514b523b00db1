//! The table of hazards: who is named there as a test is one, and every test of a hazard is named.

use super::Finding;
use super::lexer::is_word;
use super::markdown::tables;
use super::source::Source;
use crate::{Outcome, paths};
use std::path::Path;

const TABLE: &str = "docs/HAZARDS.md";
/// What stands in the names of tests of a hazard, before its number.
const MARK: &str = "hazard_";

pub(crate) fn check(root: &Path, sources: &[Source]) -> Outcome<Vec<Finding>> {
    let text = paths::read(&root.join(TABLE))?;
    let tests = sources.iter().flat_map(|source| tests_of(&source.code)).collect::<Vec<_>>();
    Ok(compare(&text, &tests))
}

/// Names of functions that say which hazard they test.
fn tests_of(code: &str) -> Vec<&str> {
    let heads = code.match_indices("fn ").map(|(at, head)| &code[at + head.len()..]);
    let names = heads.map(|rest| rest.split(|c: char| !is_word(c as u8)).next().unwrap_or(""));
    names.filter(|name| name.contains(MARK)).collect()
}

fn compare(text: &str, tests: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rows = tables(text).into_iter().flat_map(|table| table.rows);
    let mut named = Vec::new();
    for (line, cells) in rows {
        let held_by = cells.last().map_or("", String::as_str);
        let names = held_by.split('`').skip(1).step_by(2).map(String::from).collect::<Vec<_>>();
        let known = |name: &String| tests.contains(&name.as_str());
        let strange = names.iter().filter(|name| !known(name));
        findings.extend(strange.map(|name| Finding::new(TABLE, line, format!("no test `{name}`"))));
        for number in cells[0].split(", ") {
            let tests_it = |name: &String| numbers(name).any(|one| one == number);
            if !names.iter().any(tests_it) {
                let what = format!("hazard {number} has no test that is named after it");
                findings.push(Finding::new(TABLE, line, what));
            }
        }
        named.extend(names);
    }
    let is_missing = |test: &&&str| !named.iter().any(|name| name == **test);
    for test in tests.iter().filter(is_missing) {
        findings.push(Finding::new(TABLE, 0, format!("the test `{test}` is in no row")));
    }
    findings
}

/// The hazards that a name has: `hazard_04_...`, `hazard_23_and_24_...`.
fn numbers(name: &str) -> impl Iterator<Item = &str> {
    let words = name.split_once(MARK).map_or("", |(_, rest)| rest).split('_');
    let words = words.filter(|word| *word != "and").map(|word| word.trim_start_matches('0'));
    words.take_while(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_names() {
        let of = |name| numbers(name).collect::<Vec<_>>();
        assert_eq!(of("hazard_04_x_5"), ["4"]);
        assert_eq!(of("k5_hazard_23_and_24_storm"), ["23", "24"]);
    }

    #[test]
    fn the_table_and_the_tests_agree() {
        let tests = tests_of("fn hazard_04_a() {}\nconst fn other() {}\n fn hazard_1_and_2_b() {}");
        assert_eq!(tests, ["hazard_04_a", "hazard_1_and_2_b"]);
        let table = |rows: &str| format!("| No. | What | Held by |\n|---|---|---|\n{rows}");
        let good = "| 4 | x | `hazard_04_a` |\n| 1, 2 | y | `hazard_1_and_2_b` |\n";
        assert_eq!(compare(&table(good), &tests), []);
        let rows = [
            "| 4 | x | `hazard_04_a` |\n",
            "| 4 | x | `hazard_04_a` |\n| 3 | y | `hazard_1_and_2_b` |\n",
            "| 4 | x | `hazard_04_a`, `hazard_04_gone` |\n| 1 | y | `hazard_1_and_2_b` |\n",
        ];
        for row in rows {
            assert_eq!(compare(&table(row), &tests).len(), 1, "{row}");
        }
    }
}
