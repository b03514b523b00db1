//! Combinations of features: none, each alone, all, and the defaults.

use crate::args::Args;
use crate::board::{Failure, Report, Step};
use crate::job::Job;
use crate::tally::Tally;
use crate::{Outcome, manifest, paths};

/// The combination without any.
const NONE: &str = "--no-default-features";

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let quick = args.flag("--quick");
    args.finish()?;
    check(quick).map(drop).map_err(|failure| failure.why)
}

/// The gate's form: the library alone, in every combination, and all targets without features,
/// which finds who does not say what it requires.
pub(crate) fn quick_step() -> Step {
    check(true)
}

/// The long form: all targets, and the tests with the defaults.
pub(crate) fn check(quick: bool) -> Step {
    let combinations = combinations(&paths::read(&paths::root()?.join("Cargo.toml"))?);
    let mut failed = Vec::new();
    for features in &combinations {
        let base = ["clippy", "--quiet", "--package", "zero-io"];
        let job = Job::cargo(&base).args(features.iter().cloned());
        let is_bare = features.as_slice() == [NONE];
        let job = if quick && !is_bare { job } else { job.arg("--all-targets") };
        if !job.args(["--", "-D", "warnings"]).run()?.ok {
            failed.push(features.join(" "));
        }
    }
    let mut tally = Tally::default();
    if !quick {
        let ran = Job::cargo(&["test", "--package", "zero-io"]).run()?;
        tally = ran.tally;
        if !ran.ok {
            failed.push(format!("tests with the defaults: {}", ran.end));
        }
    }
    match failed.is_empty() {
        true => Ok(Report { tally, note: format!("{} combinations", combinations.len()) }),
        false => Err(Failure { tally, why: format!("failed with: {}", failed.join("; ")) }),
    }
}

/// Cargo's words for each combination.
fn combinations(manifest: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(String::from).collect();
    let mut all = vec![words(NONE), words("--all-features"), words("")];
    let alone = manifest::features(manifest).into_iter().map(|feature| feature.name);
    all.extend(alone.map(|name| words(&format!("--no-default-features --features {name}"))));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_all_defaults_and_each() {
        let found = combinations("[features]\ndefault = [\"a\"]\na = []\n_b = []\n");
        assert_eq!(found.len(), 5);
        assert_eq!(found[4], ["--no-default-features", "--features", "_b"]);
    }
}
