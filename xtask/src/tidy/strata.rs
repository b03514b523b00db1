//! Strata: a module names `crate::` items of its own stratum or of a lower one.
//!
//! The table is the one of docs/ARCHITECTURE.md. `use`, inline paths and `super::` chains that
//! reach the crate root are all read. The root's re-exports are for users: inside, an item is
//! named by its module, otherwise an upward edge could hide behind the root.

use super::Finding;
use super::lexer::is_word;
use super::source::{Source, words};

/// Bottom first.
const STRATA: &[&[&str]] = &[
    &["code", "error", "ids", "http", "config", "time", "rng", "sync", "stats", "tagged"],
    &["ring", "sys", "sim"],
    &["pool"],
    &["event", "trace", "trace_off"],
    &["proto"],
    &["conn", "transport"],
    &["engine"],
    &["io", "cluster", "runtime", "middleware", "ops", "fuzz"],
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let Some(path) = source.path.strip_prefix("src/") else { return Vec::new() };
    if path == "lib.rs" {
        return Vec::new();
    }
    let modules: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let own = modules[0];
    let depth = modules.iter().filter(|&&module| module != "mod").count();
    let Some(own_stratum) = stratum(own) else {
        let what =
            format!("module `{own}` has no stratum: give it one in xtask/src/tidy/strata.rs");
        return vec![Finding::new(&source.path, 0, what)];
    };
    let mut findings = Vec::new();
    for (at, name) in root_names(&source.shipped, depth) {
        let line = source.line_of(at);
        let what = match stratum(&name) {
            Some(used) if used <= own_stratum => continue,
            Some(used) => format!(
                "`{own}` (stratum {own_stratum}) uses `{name}` (stratum {used}): only downward"
            ),
            None => format!("`crate::{name}` is no module of the table: name the item's module"),
        };
        findings.push(Finding::new(&source.path, line, what));
    }
    findings
}

fn stratum(module: &str) -> Option<usize> {
    STRATA.iter().position(|modules| modules.contains(&module))
}

/// Every name that is looked up in the crate root, with its offset.
fn root_names(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate::") {
        names_at(code, at + "crate::".len(), &mut found);
    }
    let chain = "super::".repeat(depth);
    for at in words(code, &chain) {
        // A longer chain is found at its last `super`s.
        names_at(code, at + chain.len(), &mut found);
    }
    found.retain(|(_, name)| !matches!(name.as_str(), "super" | "self"));
    found
}

/// The first name of the path at `at`; of each path, when a brace stands there.
fn names_at(code: &str, at: usize, found: &mut Vec<(usize, String)>) {
    let bytes = code.as_bytes();
    if bytes.get(at) != Some(&b'{') {
        let len = bytes[at..].iter().take_while(|&&b| is_word(b)).count();
        let is_macro = bytes.get(at + len) == Some(&b'!');
        if len > 0 && !is_macro {
            found.push((at, code[at..at + len].to_string()));
        }
        return;
    }
    let mut depth = 0;
    let mut expects_name = false;
    let mut i = at;
    while i < bytes.len() {
        match bytes[i] {
            b'{' => {
                depth += 1;
                expects_name = depth == 1;
            }
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
            b',' => expects_name = depth == 1,
            byte if expects_name && is_word(byte) => {
                expects_name = false;
                names_at(code, i, found);
            }
            _ => {}
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::snippet;
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        check(&snippet(path, text)).len()
    }

    #[test]
    fn downward_and_sideways_are_fine() {
        assert_eq!(
            breaches("src/pool/slab.rs", "use crate::ring::Op; use crate::error::IoError;"),
            0
        );
        assert_eq!(
            breaches("src/pool/mod.rs", "use crate::{error, sys::{mem, sock}, pool::slot};"),
            0
        );
        assert_eq!(breaches("src/engine/mod.rs", "fn f(x: crate::conn::Conn) {}"), 0);
        assert_eq!(breaches("src/lib.rs", "pub use crate::io::Io;"), 0);
    }

    #[test]
    fn upward_is_found_wherever_it_hides() {
        assert_eq!(breaches("src/pool/slab.rs", "use crate::engine::Tick;"), 1);
        assert_eq!(
            breaches("src/pool/mod.rs", "use crate::{\n  error,\n  conn::{Conn, tx},\n};"),
            1
        );
        assert_eq!(breaches("src/ids.rs", "fn f() { crate::sys::now(); }"), 1);
        assert_eq!(breaches("src/ids.rs", "use super::pool::Slot;"), 1);
        assert_eq!(breaches("src/pool/slot.rs", "use super::super::conn::Conn;"), 1);
        assert_eq!(breaches("src/pool/slot.rs", "use super::slab::Slab;"), 0);
        assert_eq!(breaches("src/pool/slot.rs", "pub(in crate::pool) fn x() {}"), 0);
    }

    #[test]
    fn the_root_is_no_detour() {
        assert_eq!(breaches("src/pool/slot.rs", "use crate::Io;"), 1);
        assert_eq!(breaches("src/pool/slot.rs", "crate::syscall!(x);"), 0);
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "// use crate::io::Io;\nconst A: &str = \"crate::io\";\n\
                    #[cfg(test)]\nmod tests { use crate::io::Io; }";
        assert_eq!(breaches("src/ids.rs", text), 0);
    }

    #[test]
    fn a_module_without_a_stratum_is_found() {
        assert_eq!(breaches("src/helpers.rs", ""), 1);
    }
}
