//! Where things are: the workspace root and the target directory.

use crate::Outcome;
use std::path::{Path, PathBuf};

/// The nearest directory upwards that holds this very workspace.
pub(crate) fn root() -> Outcome<PathBuf> {
    let here = std::env::current_dir().map_err(|e| format!("no current directory: {e}"))?;
    let found = here.ancestors().find(|dir| dir.join("xtask/Cargo.toml").is_file());
    found.map(Path::to_path_buf).ok_or_else(|| "run me inside the workspace".to_string())
}

/// Cargo's target directory, as an absolute path.
pub(crate) fn target() -> Outcome<PathBuf> {
    let root = root()?;
    let chosen = std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
    Ok(chosen.map_or_else(|| root.join("target"), |dir| root.join(dir)))
}

/// A target directory of its own for a lane with other compiler flags, so that the lanes do not
/// undo each other's builds.
pub(crate) fn lane_target(lane: &str) -> Outcome<PathBuf> {
    Ok(target()?.join("lanes").join(lane))
}

/// The text of a file; the error names the path.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Files and directories directly in `dir`, sorted; none when it does not exist.
pub(crate) fn list(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
