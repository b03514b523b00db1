//! docs/UNSAFE.md: every file that uses `unsafe`, how often, why it is sound and how that is shown.
//!
//! The word is counted in shipped code: blocks, functions, traits and impls alike. A file that is
//! not in the ledger, a count that moved and a row whose file is gone are findings.

use super::Finding;
use super::markdown::{Table, cell_code, tables};
use super::source::Source;
use crate::{Outcome, paths};
use std::collections::BTreeMap;
use std::path::Path;

const LEDGER: &str = "docs/UNSAFE.md";
/// First header cell of the ledger's table.
const HEADER: &str = "File";

pub(crate) fn check(root: &Path, sources: &[Source]) -> Outcome<Vec<Finding>> {
    let path = root.join(LEDGER);
    if !path.is_file() {
        return Ok(vec![Finding::new(LEDGER, 0, "the ledger of unsafe code is missing")]);
    }
    Ok(compare(&paths::read(&path)?, &counts(sources)))
}

/// Writes the true counts into the rows that are there.
pub(crate) fn fix(root: &Path, sources: &[Source]) -> Outcome<()> {
    let path = root.join(LEDGER);
    let fixed = with_counts(&paths::read(&path)?, &counts(sources));
    std::fs::write(&path, fixed).map_err(|e| format!("{LEDGER}: {e}"))
}

/// Uses of `unsafe` by file, for files that have any.
fn counts(sources: &[Source]) -> BTreeMap<String, usize> {
    let counted = sources.iter().filter(|source| source.ships());
    let counts = counted.map(|source| {
        let uses = source.shipped_words("unsafe").count();
        (source.path.clone(), uses)
    });
    counts.filter(|&(_, count)| count > 0).collect()
}

fn ledger_table(text: &str) -> Option<Table> {
    tables(text).into_iter().find(|table| table.header.first().is_some_and(|cell| cell == HEADER))
}

fn compare(ledger: &str, counts: &BTreeMap<String, usize>) -> Vec<Finding> {
    let Some(table) = ledger_table(ledger) else {
        return vec![Finding::new(LEDGER, 0, format!("no table that begins with `{HEADER}`"))];
    };
    let mut findings = Vec::new();
    let mut listed = Vec::new();
    for (line, cells) in &table.rows {
        let file = cell_code(&cells[0]);
        listed.push(file.to_string());
        let count = counts.get(file).copied().unwrap_or(0);
        if cells.get(1).and_then(|cell| cell.parse::<usize>().ok()) != Some(count) {
            let what = match count {
                0 => format!("{file} has no unsafe: remove its row"),
                n => format!("{file} has {n} uses of unsafe: review, then `tidy --fix-ledger`"),
            };
            findings.push(Finding::new(LEDGER, *line, what));
        }
        if cells.len() < 4 || cells[2..].iter().any(String::is_empty) {
            let what = format!("{file}: the invariant or its verification is not said");
            findings.push(Finding::new(LEDGER, *line, what));
        }
    }
    for (file, count) in counts.iter().filter(|(file, _)| !listed.contains(file)) {
        let what = format!("{count} uses of unsafe, and not in {LEDGER}");
        findings.push(Finding::new(file, 0, what));
    }
    findings
}

fn with_counts(ledger: &str, counts: &BTreeMap<String, usize>) -> String {
    let rows = ledger_table(ledger).map(|table| table.rows).unwrap_or_default();
    let mut out = String::new();
    for (i, text) in ledger.lines().enumerate() {
        let row = rows.iter().find(|(line, cells)| *line == i + 1 && cells.len() > 1);
        let fixed = row.and_then(|(_, cells)| {
            let count = counts.get(cell_code(&cells[0]))?;
            let mut parts: Vec<String> = text.split('|').map(String::from).collect();
            parts[2] = format!(" {count} ");
            Some(parts.join("|"))
        });
        out.push_str(&fixed.unwrap_or_else(|| text.to_string()));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::snippet;
    use super::*;

    const LEDGER_TEXT: &str = "# Unsafe\n\n\
        | File | Uses | Invariant | Verified by |\n|---|---|---|---|\n\
        | `src/pool/slab.rs` | 2 | P1 | Miri |\n";

    fn check(count: usize) -> Vec<Finding> {
        let text = format!("//! unsafe\n{}", "unsafe { x() }\n".repeat(count));
        compare(LEDGER_TEXT, &counts(&[snippet("src/pool/slab.rs", &text)]))
    }

    #[test]
    fn counts_must_agree() {
        assert_eq!(check(2), []);
        assert_eq!(check(3).len(), 1);
        assert_eq!(check(0).len(), 1);
    }

    #[test]
    fn a_file_that_is_not_listed_is_found_and_tests_do_not_count() {
        let listed = || snippet("src/pool/slab.rs", "unsafe fn a() {} unsafe impl B for C {}");
        let other = snippet("src/ids.rs", "fn a() { unsafe { b() } }");
        assert_eq!(compare(LEDGER_TEXT, &counts(&[listed(), other])).len(), 1);
        let tests = snippet("src/ids.rs", "#[cfg(test)]\nmod t { fn a() { unsafe { b() } } }");
        assert_eq!(compare(LEDGER_TEXT, &counts(&[listed(), tests])), []);
    }

    #[test]
    fn a_row_owes_its_reasons() {
        let ledger = LEDGER_TEXT.replace("| P1 |", "| |");
        let counts = counts(&[snippet("src/pool/slab.rs", "unsafe {} unsafe {}")]);
        assert_eq!(compare(&ledger, &counts).len(), 1);
    }

    #[test]
    fn fixing_changes_counts_only() {
        let counts = counts(&[snippet("src/pool/slab.rs", "unsafe {}")]);
        let fixed = with_counts(LEDGER_TEXT, &counts);
        assert_eq!(fixed, LEDGER_TEXT.replace("| 2 |", "| 1 |"));
        assert_eq!(compare(&fixed, &counts), []);
    }
}
