//! Builds `scalar/`, and has it linked: a build of its own is the only way to a second httparse,
//! with other features.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What this build is told, and that one is not to hear: where to build and how to instrument.
const OURS: [&str; 5] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PROFILE_RELEASE_LTO",
    "CARGO_TARGET_DIR",
    "RUSTFLAGS",
];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says it")).join("scalar");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=scalar");
    build(&here.join("scalar/Cargo.toml"), &out);
    let at = out.join("release");
    println!("cargo::rustc-link-search=native={}", at.display());
    println!("cargo::rustc-link-lib=dylib=zero_io_fuzz_scalar");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", at.display());
}

fn build(manifest: &Path, out: &Path) {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo says it"));
    cargo.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest);
    cargo.arg("--target-dir").arg(out);
    for name in OURS {
        cargo.env_remove(name);
    }
    let ended = cargo.status().expect("cargo starts");
    assert!(ended.success(), "{}: {ended}", manifest.display());
}
