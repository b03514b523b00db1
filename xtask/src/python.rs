//! Python environments with packages from PyPI, below the target directory.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::job::Job;

/// What is imported, and what pip is asked for.
pub(crate) struct Package {
    pub(crate) module: &'static str,
    pub(crate) requirement: &'static str,
}

/// A Python that has the package; made, and the package installed, where that is not there yet.
pub(crate) fn environment(home: &Path, package: &Package) -> Outcome<PathBuf> {
    let python = home.join("bin/python");
    let at = python.display().to_string();
    if !python.is_file() {
        let home = home.display().to_string();
        Job::new("python3", &["-m", "venv", &home]).run()?.good()?;
    }
    if !Job::new(&at, &["-c", &format!("import {}", package.module)]).succeeds() {
        let words = ["-m", "pip", "install", "--quiet", package.requirement];
        Job::new(&at, &words).run()?.good()?;
    }
    Ok(python)
}
