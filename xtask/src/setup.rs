//! What the lanes need from Debian, and installing it.
//!
//! Invariant: on a machine where it may not install, it says what is missing and fails.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::Outcome;
use crate::args::Args;
use crate::board::{Report, Step};
use crate::job::Job;

/// A package, and a file or program whose presence shows that it is there.
struct Package {
    name: &'static str,
    probe: &'static str,
    lanes: &'static [&'static str],
}

const fn package(
    name: &'static str,
    probe: &'static str,
    lanes: &'static [&'static str],
) -> Package {
    Package { name, probe, lanes }
}

/// The lanes that packages are grouped by.
const LANES: &[&str] = &["test", "qemu", "bench", "bench-tls", "tlsfuzzer"];

const PACKAGES: &[Package] = &[
    package("gcc", "cc", &["test", "bench"]),
    package("g++", "c++", &["test", "bench"]),
    package("chromium-headless-shell", "chromium-headless-shell", &["test"]),
    package("ca-certificates", "update-ca-certificates", &["test"]),
    // BoringSSL and its bindings, for quiche.
    package("cmake", "cmake", &["test"]),
    package("make", "make", &["test"]),
    package("libclang-dev", "/usr/lib/llvm-14/lib/libclang.so.1", &["test"]),
    package("curl", "curl", &["test"]),
    package("gnutls-bin", "gnutls-cli", &["test"]),
    package("haproxy", "haproxy", &["test"]),
    package("iproute2", "ip", &["test"]),
    package("netcat-openbsd", "nc", &["test"]),
    package("openssl", "openssl", &["test", "bench-tls"]),
    package("procps", "ps", &["test", "bench"]),
    package("python3", "python3", &["test", "bench"]),
    package("python3-venv", "/usr/lib/python3.11/ensurepip/__init__.py", &["test", "tlsfuzzer"]),
    package("strace", "strace", &["test", "bench"]),
    package("util-linux", "taskset", &["test", "bench"]),
    package("valgrind", "valgrind", &["test", "bench"]),
    package("busybox-static", "busybox", &["qemu"]),
    package("cpio", "cpio", &["qemu"]),
    package("kmod", "depmod", &["qemu"]),
    package("qemu-system-x86", "qemu-system-x86_64", &["qemu"]),
    package("xz-utils", "xz", &["qemu"]),
    package("wrk", "wrk", &["test", "bench"]),
    package("libssl-dev", "/usr/include/openssl/ssl.h", &["bench-tls"]),
    package("linux-perf", "perf", &["bench-tls"]),
    package("nginx", "nginx", &["test", "bench", "bench-tls"]),
];

const PATH_DIRS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Seconds that one apt-get run may take.
const APT_LIMIT_S: u64 = 600;

pub(crate) fn run(mut args: Args) -> Outcome<()> {
    let check_only = args.flag("--check");
    let mut lanes = Vec::new();
    while let Some(lane) = args.positional() {
        match LANES.iter().find(|known| **known == lane) {
            Some(lane) => lanes.push(*lane),
            None => return Err(format!("no lane `{lane}`: {}", LANES.join(", "))),
        }
    }
    args.finish()?;
    if lanes.is_empty() {
        lanes.push("test");
    }
    let missing = missing(&lanes);
    if missing.is_empty() {
        println!("nothing is missing for {}", lanes.join(", "));
        return Ok(());
    }
    if check_only { Err(how_to(&missing)) } else { install(&missing) }
}

/// Makes sure of a lane's packages.
pub(crate) fn need(lane: &str) -> Outcome<()> {
    let missing = missing(&[lane]);
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// The gate's first step.
pub(crate) fn step() -> Step {
    let missing = missing(&["test"]);
    if missing.is_empty() {
        return Ok(Report::note("nothing was missing"));
    }
    install(&missing)?;
    Ok(Report::note(format!("installed {}", missing.join(" "))))
}

fn missing(lanes: &[&str]) -> Vec<&'static str> {
    let wanted = PACKAGES.iter().filter(|package| lanes.iter().any(|l| package.lanes.contains(l)));
    wanted.filter(|package| !present(package.probe)).map(|package| package.name).collect()
}

/// Whether a program is in PATH or in one of the directories that a plain user's PATH lacks, or a
/// file is where its absolute path says.
pub(crate) fn present(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(PATH_DIRS.iter().copied());
    dirs.into_iter().any(|dir| Path::new(dir).join(program).is_file())
}

fn install(packages: &[&str]) -> Outcome<()> {
    let is_root = Job::new("id", &["-u"]).quiet().run()?.lines.first().is_some_and(|id| id == "0");
    if !is_root || !present("apt-get") {
        return Err(how_to(packages));
    }
    let apt = |args: &[&str]| {
        let job = Job::new("apt-get", args).env("DEBIAN_FRONTEND", "noninteractive");
        job.limit_s(APT_LIMIT_S).run()?.good()
    };
    apt(&["update", "-q"]).map_err(|end| format!("apt-get update: {end}"))?;
    let mut words = vec!["install", "-qy", "--no-install-recommends"];
    words.extend(packages);
    let quiet = NoDaemons::begin();
    let installed = apt(&words);
    drop(quiet);
    installed.map_err(|end| format!("apt-get install: {end}; {}", how_to(packages)))?;
    Ok(())
}

/// While it lives, packages that bring a server do not start it: the tests start their own, on
/// ports of their own. A policy that is there already is left alone.
struct NoDaemons(Option<&'static Path>);

impl NoDaemons {
    const POLICY: &'static str = "/usr/sbin/policy-rc.d";

    fn begin() -> Self {
        let path = Path::new(Self::POLICY);
        let made = !path.exists()
            && std::fs::write(path, "#!/bin/sh\nexit 101\n").is_ok()
            && std::fs::set_permissions(path, Permissions::from_mode(0o755)).is_ok();
        Self(made.then_some(path))
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn how_to(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    format!("missing packages; as root: apt-get install --no-install-recommends {packages}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_belongs_to_a_known_lane() {
        for package in PACKAGES {
            assert!(!package.lanes.is_empty(), "{}", package.name);
            assert!(package.lanes.iter().all(|lane| LANES.contains(lane)), "{}", package.name);
        }
        assert!(present("sh") && !present("no-such-program-anywhere"));
    }
}
