//! A row of steps with their times and counts, and the table at the end.
//!
//! Invariant: a later step runs even when an earlier one failed, so that one run shows everything;
//! and a step that failed without a failed test case counts as one.

use crate::tally::Tally;
use std::time::Instant;

/// What one step has to say.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) tally: Tally,
    /// One phrase for the table: what was really run, or what was lacking.
    pub(crate) note: String,
}

impl Report {
    pub(crate) fn note(note: impl Into<String>) -> Self {
        Self { tally: Tally::default(), note: note.into() }
    }
}

impl From<Tally> for Report {
    fn from(tally: Tally) -> Self {
        Self { tally, note: String::new() }
    }
}

/// Why a step failed, with the cases that it counted before.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) tally: Tally,
    pub(crate) why: String,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { tally: Tally::default(), why }
    }
}

/// The outcome of one step.
pub(crate) type Step = Result<Report, Failure>;

struct Row {
    name: String,
    seconds: f64,
    tally: Tally,
    failed: bool,
    note: String,
}

/// Steps done so far.
pub(crate) struct Board {
    title: &'static str,
    only: Vec<String>,
    skip: Vec<String>,
    rows: Vec<Row>,
}

impl Board {
    /// `only` and `skip` are comma separated step names, for a developer's partial runs.
    pub(crate) fn new(title: &'static str, only: Option<String>, skip: Option<String>) -> Self {
        let names = |list: Option<String>| {
            let list = list.unwrap_or_default();
            list.split(',').filter(|name| !name.is_empty()).map(String::from).collect()
        };
        Self { title, only: names(only), skip: names(skip), rows: Vec::new() }
    }

    /// Runs one step, unless it is deselected.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Step) {
        let deselected = !self.only.is_empty() && !self.only.iter().any(|only| only == name);
        if deselected || self.skip.iter().any(|skip| skip == name) {
            return;
        }
        println!("\n== {name}");
        let begun = Instant::now();
        let result = work();
        let seconds = begun.elapsed().as_secs_f64();
        let (tally, failed, note) = match result {
            Ok(report) => (report.tally, report.tally.failed > 0, report.note),
            Err(failure) => {
                println!("FAILED: {}", failure.why);
                let tally = failure.tally;
                let failed = tally.failed.max(1);
                (Tally { failed, ..tally }, true, failure.why)
            }
        };
        self.rows.push(Row { name: name.to_string(), seconds, tally, failed, note });
    }

    /// Prints the table and, alone on the last line, `N passed, N failed`.
    /// Ends the process, so that nothing follows that line.
    pub(crate) fn finish(self) -> ! {
        let mut total = Tally::default();
        println!(
            "\n{:<14} {:<6} {:>8} {:>7} {:>7}  note",
            self.title, "", "seconds", "passed", "failed"
        );
        for row in &self.rows {
            total.add(row.tally);
            let verdict = if row.failed { "FAILED" } else { "ok" };
            let first_line = row.note.lines().next().unwrap_or_default();
            let skipped = match row.tally.skipped {
                0 => String::new(),
                n => format!("{n} skipped; "),
            };
            println!(
                "{:<14} {verdict:<6} {:>8.1} {:>7} {:>7}  {skipped}{first_line}",
                row.name, row.seconds, row.tally.passed, row.tally.failed
            );
        }
        let seconds: f64 = self.rows.iter().map(|row| row.seconds).sum();
        println!("{:<14} {:<6} {seconds:>8.1}", "total", "");
        println!("{} passed, {} failed", total.passed, total.failed);
        let good = total.failed == 0 && !self.rows.is_empty();
        std::process::exit(i32::from(!good))
    }

    #[cfg(test)]
    fn totals(&self) -> (Tally, usize) {
        let mut total = Tally::default();
        self.rows.iter().for_each(|row| total.add(row.tally));
        (total, self.rows.iter().filter(|row| row.failed).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_the_rest_still_runs() {
        let mut board = Board::new("t", None, Some("skipped".to_string()));
        board.step("bad", || Err("no".to_string().into()));
        board.step("skipped", || panic!("deselected"));
        board.step("red", || Ok(Tally { passed: 2, failed: 1, skipped: 0 }.into()));
        board.step("good", || Ok(Tally { passed: 5, failed: 0, skipped: 1 }.into()));
        let (total, failed_steps) = board.totals();
        assert_eq!(total, Tally { passed: 7, failed: 2, skipped: 1 });
        assert_eq!(failed_steps, 2);
    }

    #[test]
    fn only_selects() {
        let mut board = Board::new("t", Some("a,b".to_string()), None);
        board.step("a", || Ok(Report::note("ran")));
        board.step("c", || panic!("deselected"));
        assert_eq!(board.rows.len(), 1);
    }
}
