//! docs/UNSAFE.md: every file that uses `unsafe`, how often, why it is sound and how that is shown.
//!
//! The word is counted in shipped code: blocks, functions, traits and impls alike. Findings are a
//! file that is not in the ledger, a count that moved, a row whose file is gone, and a file beyond
//! the places that the ledger's first rule names.

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
    let (text, counts) = (paths::read(&path)?, counts(sources));
    let mut findings = compare(&text, &counts);
    findings.extend(compare_places(&text, &counts));
    Ok(findings)
}

/// Writes the true counts into the rows that are there.
pub(crate) fn fix(root: &Path, sources: &[Source]) -> Outcome<()> {
    let path = root.join(LEDGER);
    let fixed = with_counts(&paths::read(&path)?, &counts(sources));
    std::fs::write(&path, fixed).map_err(|e| format!("{LEDGER}: {e}"))
}

/// What the first rule begins with.
const PLACES: &str = "- Unsafe code lives in ";

/// Directories and files of the first rule, from the root; with the rule's line.
fn places(ledger: &str) -> Option<(usize, Vec<String>)> {
    let at = ledger.lines().position(|line| line.starts_with(PLACES))?;
    let goes_on = |line: &&str| line.starts_with(' ');
    let lines = ledger.lines().skip(at);
    let rule: String = lines.clone().take(1).chain(lines.skip(1).take_while(goes_on)).collect();
    let spans = rule.split('`').skip(1).step_by(2);
    let is_path = |span: &&str| span.ends_with('/') || span.ends_with(".rs");
    Some((at + 1, spans.filter(is_path).map(|span| format!("src/{span}")).collect()))
}

/// Files beyond the places, and places without a file.
fn compare_places(ledger: &str, counts: &BTreeMap<String, usize>) -> Vec<Finding> {
    let Some((line, places)) = places(ledger) else {
        return vec![Finding::new(LEDGER, 0, format!("no rule that begins with `{PLACES}`"))];
    };
    let is_in = |file: &str, place: &str| match place.ends_with('/') {
        true => file.starts_with(place),
        false => file == place,
    };
    let mut findings = Vec::new();
    for file in counts.keys().filter(|file| !places.iter().any(|place| is_in(file, place))) {
        findings.push(Finding::new(file, 0, format!("unsafe code where {LEDGER} has no place")));
    }
    for place in places.iter().filter(|place| !counts.keys().any(|file| is_in(file, place))) {
        findings.push(Finding::new(LEDGER, line, format!("`{place}` has no unsafe code")));
    }
    findings
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
    fn the_first_rule_names_every_place_and_no_other() {
        let rule =
            "x\n\n- Unsafe code lives in `pool/`,\n  and in `ids.rs`. `tidy` looks.\n- No `y/`.\n";
        let check = |paths: &[&str]| {
            let files = paths.iter().map(|path| snippet(path, "unsafe {}")).collect::<Vec<_>>();
            compare_places(rule, &counts(&files)).len()
        };
        assert_eq!(check(&["src/pool/slab.rs", "src/pool/quic/a.rs", "src/ids.rs"]), 0);
        assert_eq!(check(&["src/pool/slab.rs", "src/ids.rs", "src/engine/mod.rs"]), 1);
        assert_eq!(check(&["src/pool/slab.rs", "src/ids.rs", "src/y/a.rs"]), 1);
        assert_eq!(check(&["src/pool/slab.rs"]), 1);
        assert_eq!(compare_places("nothing", &counts(&[])).len(), 1);
    }

    #[test]
    fn fixing_changes_counts_only() {
        let counts = counts(&[snippet("src/pool/slab.rs", "unsafe {}")]);
        let fixed = with_counts(LEDGER_TEXT, &counts);
        assert_eq!(fixed, LEDGER_TEXT.replace("| 2 |", "| 1 |"));
        assert_eq!(compare(&fixed, &counts), []);
    }
}
