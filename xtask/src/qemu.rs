//! Test binaries on another kernel: Debian's own, booted in a guest by `xtask/qemu/boot.sh`.
//!
//! The guest has no compiler and no registry: the binaries are built here and carried in.

use crate::args::Args;
use crate::board::{Failure, Report, Step};
use crate::job::Job;
use crate::runner::FEATURES;
use crate::tally::Tally;
use crate::{Outcome, lacking, paths, setup};

pub(crate) const USAGE: &str = "[--ktls] [--backports | --newest] [--test NAME] [-- ARG...]";
/// Building the binaries.
const BUILD_LIMIT_S: u64 = 1200;
/// Seconds that the guest may run one binary: translated code is some ten times slower.
const GUEST_LIMIT_S: u64 = 900;
/// Test targets that mean nothing in the guest: name, and why.
const NOT_IN_GUEST: &[(&str, &str)] =
    &[("examples", "starts programs that the guest does not have")];
/// Test targets of which a part means something there: name, the part, and why the rest does not.
const PARTS_IN_GUEST: &[(&str, &str, &str)] = &[("sim", "differential::", "no kernel is involved")];
/// The target with the tests that need the kernel's TLS: ignored wherever nobody asks for them.
const KTLS_TEST: &str = "ktls";
/// TLS and its ciphers, under the names that they have in one kernel or the other: the guest loads
/// nothing by itself.
const KTLS_MODULES: &str = "tls gcm aesni-intel ghash_generic chacha20poly1305 chacha \
                            chacha_generic poly1305_generic";

/// Debian's kernels, by the word of `boot.sh` for them.
#[derive(Clone, Copy)]
enum Kernel {
    /// 6.1, the oldest that is supported.
    Stable,
    /// 6.12.
    Backports,
    /// The newest that Debian has.
    Newest,
}

impl Kernel {
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::Stable => None,
            Self::Backports => Some("-b"),
            Self::Newest => Some("-n"),
        }
    }
}

/// What runs where.
#[derive(Default)]
struct Guest {
    kernel: Option<&'static str>,
    modules: Option<&'static str>,
    test: Option<String>,
    args: Vec<String>,
}

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let ktls = args.flag("--ktls");
    let backports = args.flag("--backports").then_some(Kernel::Backports);
    let newest = args.flag("--newest").then_some(Kernel::Newest);
    let kernel = newest.or(backports);
    let test: Option<String> = args.value("--test")?;
    let args = {
        let passed_on = args.passed_on();
        args.finish()?;
        passed_on
    };
    let ran = match (ktls, kernel) {
        (false, kernel) => {
            let kernel = kernel.unwrap_or(Kernel::Stable).word();
            boot(&Guest { kernel, test, args, ..Guest::default() })
        }
        (true, None) => ktls_step(),
        (true, Some(kernel)) => boot(&ktls_guest(kernel, args)),
    };
    ran.map(drop).map_err(|failure| failure.why)
}

/// Everything on the oldest kernel that is supported.
pub(crate) fn step() -> Step {
    boot(&Guest::default())
}

/// TLS records in the kernel: in one that cannot change keys, and in one that can.
pub(crate) fn ktls_step() -> Step {
    let mut tally = Tally::default();
    for kernel in [Kernel::Backports, Kernel::Newest] {
        tally.add(boot(&ktls_guest(kernel, Vec::new()))?.tally);
    }
    Ok(Report { tally, note: "Debian's 6.12 and its newest kernel, with TLS".to_string() })
}

fn ktls_guest(kernel: Kernel, more: Vec<String>) -> Guest {
    let args = ["--ignored".to_string()].into_iter().chain(more).collect();
    let test = Some(KTLS_TEST.to_string());
    Guest { kernel: kernel.word(), modules: Some(KTLS_MODULES), test, args }
}

fn boot(guest: &Guest) -> Step {
    setup::need("qemu")?;
    let words = ["test", "--no-run", "--package", "zero-io", "--features", FEATURES];
    let job = Job::cargo(&words).args(match guest.test.as_deref() {
        Some("lib") => vec!["--lib".to_string()],
        Some(test) => vec!["--test".to_string(), test.to_string()],
        None => vec!["--lib".to_string(), "--tests".to_string()],
    });
    let ran = job.limit_s(BUILD_LIMIT_S).run()?.good()?;
    let binaries: Vec<Binary> = ran.lines.iter().filter_map(|line| binary_of(line)).collect();
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for Binary { name, path } in binaries {
        if guest.test.is_none() && leaves_out(&name) {
            continue;
        }
        let script = paths::root()?.join("xtask/qemu/boot.sh");
        let mut job = Job::new("bash", &[&script.display().to_string()]);
        if let Some(kernel) = guest.kernel {
            job = job.arg(kernel);
        }
        if let Some(modules) = guest.modules {
            job = job.args(["-m", modules]);
        }
        let job = job.args(["-t", &GUEST_LIMIT_S.to_string(), "--", &path, "--test-threads=1"]);
        let job = job.args(lacking::skips(&name, &path)?);
        let job = job.args(part_of(&name).filter(|_| guest.args.is_empty()));
        let ran = job.args(guest.args.iter().cloned()).limit_s(GUEST_LIMIT_S + 300).run()?;
        tally.add(ran.tally);
        if !ran.ok {
            failed.push(name);
        }
    }
    match (failed.is_empty(), tally.passed) {
        (true, 0) => Err("no test ran in the guest".to_string().into()),
        (true, _) => Ok(Report { tally, note: "Debian's kernel in a guest".to_string() }),
        (false, _) => Err(Failure { tally, why: format!("failed: {}", failed.join(", ")) }),
    }
}

/// Whether a target does not run in the guest.
pub(crate) fn leaves_out(target: &str) -> bool {
    NOT_IN_GUEST.iter().any(|(not, _)| *not == target)
}

/// What of a target runs in the guest, where that is not all of it.
fn part_of(target: &str) -> Option<&'static str> {
    PARTS_IN_GUEST.iter().find(|(name, ..)| *name == target).map(|(_, part, _)| *part)
}

struct Binary {
    /// `lib`, or the test target's name.
    name: String,
    path: String,
}

/// Reads cargo's `Executable unittests src/lib.rs (PATH)` and `Executable tests/tcp.rs (PATH)`.
fn binary_of(line: &str) -> Option<Binary> {
    let rest = line.trim_start().strip_prefix("Executable ")?;
    let (source, path) = rest.strip_suffix(')')?.rsplit_once(" (")?;
    let file = source.rsplit(' ').next().unwrap_or(source);
    let name = match file {
        "src/lib.rs" => "lib",
        file => file.strip_prefix("tests/")?.trim_end_matches("/main.rs").trim_end_matches(".rs"),
    };
    Some(Binary { name: name.to_string(), path: path.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_read_from_cargo_lines() {
        let name = |line: &str| binary_of(line).map(|binary| binary.name);
        let lib = "  Executable unittests src/lib.rs (target/debug/deps/zero_io-1)";
        assert_eq!(name(lib).as_deref(), Some("lib"));
        let test = "  Executable tests/tcp.rs (target/debug/deps/tcp-1)";
        assert_eq!(name(test).as_deref(), Some("tcp"));
        assert_eq!(name("  Executable unittests examples/a.rs (target/x)"), None);
        assert_eq!(name("   Compiling zero-io"), None);
    }
}
