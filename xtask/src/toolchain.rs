//! Which compilers are here: the one that runs us, the declared minimum, and a nightly.

use crate::board::{Report, Step};
use crate::job::Job;
use crate::{Outcome, manifest, paths};

/// The target of lanes that need one named (sanitizers do).
pub(crate) fn host() -> Outcome<String> {
    let ran = Job::new("rustc", &["-vV"]).quiet().run()?.good()?;
    let host = ran.lines.iter().find_map(|line| line.strip_prefix("host: "));
    host.map(String::from).ok_or_else(|| "rustc -vV names no host".to_string())
}

/// Whether rustup has this toolchain.
pub(crate) fn has(toolchain: &str) -> bool {
    Job::new("rustup", &["run", toolchain, "rustc", "-V"]).succeeds()
}

/// A cargo of another toolchain.
pub(crate) fn cargo_of(toolchain: &str, args: &[&str]) -> Job {
    Job::new("rustup", &["run", toolchain, "cargo"]).args(args.iter().copied())
}

/// Fails with the way to get one when there is no nightly.
pub(crate) fn need_nightly(what: &str) -> Outcome<()> {
    match has("nightly") {
        true => Ok(()),
        false => Err(format!("{what} needs a nightly toolchain: rustup toolchain install nightly")),
    }
}

/// Set where continuous integration runs; `.ci/run` sees to it.
const IN_CI: &str = "CI";

/// The step that holds `rust-version` true: every other step is its test when this very version
/// runs them; otherwise the declared toolchain compiles every crate of the workspace, with all
/// features. Where there is a rustup, it gets that one. Only a developer's machine may do without.
pub(crate) fn minimum_step() -> Step {
    let text = paths::read(&paths::root()?.join("Cargo.toml"))?;
    let declared = manifest::rust_version(&text)
        .ok_or_else(|| "Cargo.toml has no rust-version".to_string())?;
    let ran = Job::new("rustc", &["-V"]).quiet().run()?.good()?;
    let line = ran.lines.first().cloned().unwrap_or_default();
    let running = version(line.split_whitespace().nth(1).unwrap_or_default());
    let minimum = version(&declared);
    if running < minimum {
        return Err(format!("{line} is older than the declared {declared}").into());
    }
    if running[..2] == minimum[..2] {
        return Ok(Report::note(format!("{declared} is what runs every step")));
    }
    let exact = format!("{}.{}.{}", minimum[0], minimum[1], minimum[2]);
    if !has(&exact) && !installs(&exact) {
        let in_ci = std::env::var_os(IN_CI).is_some_and(|value| !value.is_empty());
        return untested(&format!("{line}, and no toolchain {exact} here"), in_ci);
    }
    let target = paths::lane_target("minimum")?;
    let check = cargo_of(&exact, &["check", "--workspace", "--all-features"]);
    check.target_dir(&target).run()?.good()?;
    Ok(Report::note(format!("compiles with {exact}")))
}

/// What a machine without the toolchain gets: an ordinary one a note, and the one that decides a
/// failure.
fn untested(why: &str, in_ci: bool) -> Step {
    match in_ci {
        false => Ok(Report::note(format!("NOT TESTED: {why}"))),
        true => Err(format!("not tested: {why}, and rustup installs none").into()),
    }
}

/// Has rustup install a toolchain; whether that worked.
fn installs(toolchain: &str) -> bool {
    Job::new(
        "rustup",
        &["toolchain", "install", toolchain, "--profile", "minimal", "--no-self-update"],
    )
    .succeeds()
}

/// `1.95` and `1.95.0-nightly` as three numbers.
fn version(text: &str) -> [u32; 3] {
    let mut parts = text.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untested_minimum_fails_where_it_counts() {
        let note = untested("why", false).expect("a note").note;
        assert!(note.contains("NOT TESTED: why"), "{note}");
        assert!(untested("why", true).is_err());
    }

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(version("1.95"), [1, 95, 0]);
        assert_eq!(version("1.95.1-nightly"), [1, 95, 1]);
        assert!(version("1.100.0") > version("1.95.0"));
    }
}
