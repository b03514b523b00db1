//! Counts of test cases, read from what the runners print.
//!
//! Two formats are known: `cargo test` (`test result: ok. 3 passed; 0 failed; ..`) and nextest
//! (`Summary [ 0.1s] 3 tests run: 3 passed, 0 skipped`).

/// Test cases of one or more runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored, or skipped by the runner: printed, so that nothing is left out silently.
    pub(crate) skipped: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Adds what one line of a runner's output says.
    pub(crate) fn read_line(&mut self, line: &str) {
        let counts = match (line.find("test result: "), summary(line)) {
            (Some(at), _) => &line[at + "test result: ".len()..],
            (None, Some(counts)) => counts,
            (None, None) => return,
        };
        let mut number = None;
        for word in counts.split([' ', ',', ';', '.']).filter(|word| !word.is_empty()) {
            if let Ok(n) = word.trim_start_matches('(').parse::<u64>() {
                number = Some(n);
                continue;
            }
            let Some(n) = number.take() else { continue };
            match word {
                "passed" => self.passed += n,
                // "3 timed out", "1 exec failed": the first word carries the number.
                "failed" | "timed" | "exec" => self.failed += n,
                "ignored" | "skipped" => self.skipped += n,
                _ => {}
            }
        }
    }
}

/// The counts of nextest's summary line.
fn summary(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("Summary [")?;
    line.split_once("tests run: ").or_else(|| line.split_once("test run: ")).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, passed: u64, failed: u64, skipped: u64) {
        let mut tally = Tally::default();
        tally.read_line(line);
        assert_eq!(tally, Tally { passed, failed, skipped }, "{line}");
    }

    #[test]
    fn lines_of_both_runners() {
        let cargo = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; \
                     finished in 0.00s";
        check(cargo, 3, 0, 1);
        check("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured", 3, 2, 0);
        check("     Summary [   0.006s] 3 tests run: 3 passed, 4 skipped", 3, 0, 4);
        check("     Summary [   0.006s] 1 test run: 1 passed (1 slow), 0 skipped", 1, 0, 0);
        check("     Summary [  0.1s] 3/5 tests run: 1 passed, 1 failed, 1 timed out", 1, 2, 0);
        check("  Summary [  0.1s] 2 tests run: 1 passed, 1 exec failed, 0 skipped", 1, 1, 0);
        check("running 3 tests", 0, 0, 0);
        check("test result_line ... ok", 0, 0, 0);
    }
}
