//! Combinations of features: none, each alone, all, and the defaults.

use crate::args::Args;
use crate::board::{Failure, Report, Step};
use crate::job::Job;
use crate::tally::Tally;
use crate::{Outcome, paths};

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let quick = args.flag("--quick");
    args.finish()?;
    check(quick).map(drop).map_err(|failure| failure.why)
}

/// The gate's form: the library alone, every combination.
pub(crate) fn quick_step() -> Step {
    check(true)
}

/// The long form: all targets, and the tests with the defaults.
pub(crate) fn check(quick: bool) -> Step {
    let manifest = paths::read(&paths::root()?.join("Cargo.toml"))?;
    let combinations = combinations(&manifest);
    let mut failed = Vec::new();
    for features in &combinations {
        let base = ["clippy", "--quiet", "--package", "zero-io"];
        let job = Job::cargo(&base).args(features.iter().copied());
        let job = if quick { job } else { job.arg("--all-targets") };
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
fn combinations(manifest: &str) -> Vec<Vec<&str>> {
    let none = vec!["--no-default-features"];
    let alone = feature_names(manifest)
        .into_iter()
        .map(|name| vec!["--no-default-features", "--features", name]);
    let mut all: Vec<Vec<&str>> = vec![none, vec!["--all-features"], vec![]];
    all.extend(alone);
    all
}

/// Every feature of a manifest, private ones too, without `default`.
fn feature_names(manifest: &str) -> Vec<&str> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[features]").skip(1);
    let section = lines.take_while(|line| !line.starts_with('['));
    let names = section.filter_map(|line| {
        let (name, _) = line.split_once('=')?;
        let name = name.trim();
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        (plain && name != "default").then_some(name)
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_all_defaults_and_each() {
        let manifest = "[features]\ndefault = [\"tcp\"]\n# a = b\ntcp = []\nweb = [\n \"tcp\",\n]\n\
                        _sim = []\n[lints]\nworkspace = true\n";
        assert_eq!(feature_names(manifest), ["tcp", "web", "_sim"]);
        assert_eq!(combinations(manifest).len(), 6);
    }
}
