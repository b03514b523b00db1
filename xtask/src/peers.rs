//! Other implementations that tests talk to, where the tests look for them: below the target
//! directory, aioquic in `python`, and the programs of `tests/peers` in `peers`.

use crate::board::{Report, Step};
use crate::job::Job;
use crate::paths;
use crate::python::{self, Package};

const AIOQUIC: Package = Package { module: "aioquic", requirement: "aioquic==1.7.2" };
/// The workspace of the others.
const MANIFEST: &str = "tests/peers/Cargo.toml";
/// BoringSSL, s2n-tls and aws-lc are compiled, once.
const BUILD_LIMIT_S: u64 = 1800;

/// The gate's step.
pub(crate) fn step() -> Step {
    let target = paths::target()?;
    python::environment(&target.join("python"), &AIOQUIC)?;
    let job = Job::cargo(&["build", "--locked", "--manifest-path", MANIFEST]);
    let job = job.target_dir(&target.join("peers")).limit_s(BUILD_LIMIT_S);
    job.run()?.good().map_err(|end| format!("{}: {end}", job.command_line()))?;
    Ok(Report::note(format!("{}, quinn, s2n-quic, quiche", AIOQUIC.requirement)))
}
