//! Calls and attributes that have no place here, each with the reason and what to do instead.

use super::Finding;
use super::lexer::is_word;
use super::source::{Source, close_of, words};

/// A word that must not stand in shipped code.
struct Ban {
    word: &'static str,
    /// Path prefixes in which it may stand.
    except: &'static [&'static str],
    instead: &'static str,
}

const fn ban(word: &'static str, except: &'static [&'static str], instead: &'static str) -> Ban {
    Ban { word, except, instead }
}

const CLOCKS: &[&str] = &["src/ring/", "src/sys/"];
/// Where the time of day may be named: what is read below the ring, and its form for a library.
const WALL_CLOCKS: &[&str] =
    &["src/ring/", "src/sys/", "src/proto/quic/time.rs", "src/proto/quic/tokens.rs"];
const NO_LOCKS: &str = "no locks in a shard: atomics, or the shard's own thread";
const NO_PRINT: &str = "a library prints nothing: return it, count it or trace it";
const PASS_NOW: &str = "machines take `now`; one clock read per tick, below `ring`";
const FINISH_IT: &str = "finish it or leave it out";

/// For everything that ships: the engine and the protocol crates.
const SHIPPED: &[Ban] = &[
    ban("Mutex", &[], NO_LOCKS),
    ban("RwLock", &[], NO_LOCKS),
    ban("Condvar", &[], NO_LOCKS),
    ban("spin_loop", &["src/engine/spin.rs", "src/sync.rs"], "the one bounded spin has its file"),
    ban(
        "thread::sleep",
        &["src/ring/setup.rs", "src/sys/resolve.rs"],
        "waiting is `poll`'s: arm a timer",
    ),
    ban("println!", &[], NO_PRINT),
    ban("print!", &[], NO_PRINT),
    ban("eprintln!", &[], NO_PRINT),
    ban("eprint!", &[], NO_PRINT),
    ban("dbg!", &[], NO_PRINT),
    ban("todo!", &[], FINISH_IT),
    ban("unimplemented!", &[], FINISH_IT),
    ban("std::process", &[], "a library neither starts nor ends processes"),
    ban(".unwrap()", &[], "return the error, or `expect` what the programmer promised"),
    ban("Instant::now", CLOCKS, PASS_NOW),
    ban("SystemTime", WALL_CLOCKS, PASS_NOW),
];

const PEER_INPUT: &str = "peer input never panics: return the error";

/// For what a peer's bytes reach, besides the above.
const PARSERS: &[Ban] = &[
    ban(".expect(", &[], PEER_INPUT),
    ban("panic!", &[], PEER_INPUT),
    ban("unreachable!", &[], PEER_INPUT),
    ban("assert!", &[], PEER_INPUT),
    ban("assert_eq!", &[], PEER_INPUT),
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = attributes(source);
    if source.ships() {
        findings.extend(words_of(source, SHIPPED));
    }
    if source.path.starts_with("src/proto/") {
        findings.extend(words_of(source, PARSERS));
        for at in indexings(&source.shipped) {
            let what = format!("indexing: {PEER_INPUT}; `get`, `split_at_checked`, `first_chunk`");
            findings.push(Finding::new(&source.path, source.line_of(at), what));
        }
    }
    findings
}

fn words_of(source: &Source, bans: &[Ban]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Ban { word, except, instead } in bans {
        if except.iter().any(|prefix| source.path.starts_with(prefix)) {
            continue;
        }
        for at in source.shipped_words(word) {
            let what = format!("`{word}`: {instead}");
            findings.push(Finding::new(&source.path, source.line_of(at), what));
        }
    }
    findings
}

/// A bare `allow`, an `expect` without a reason, an `ignore` without one: in tests too.
fn attributes(source: &Source) -> Vec<Finding> {
    let code = &source.code;
    let mut findings = Vec::new();
    let mut found = |at, what: &str| {
        findings.push(Finding::new(&source.path, source.line_of(at), what));
    };
    for opening in ["#[", "#!["] {
        for (at, _) in code.match_indices(opening) {
            let open = at + opening.len() - 1;
            let Some(end) = close_of(code, open) else { continue };
            let attribute = &code[open + 1..end - 1];
            let reason = words(attribute, "reason").next().is_some();
            if words(attribute, "allow(").next().is_some() {
                found(at, "`allow`: write `expect(lint, reason = ..)`");
            }
            if words(attribute, "expect(").next().is_some() && !reason {
                found(at, "`expect` without a reason");
            }
            if attribute.trim() == "ignore" {
                found(at, "`ignore` without a reason");
            }
        }
    }
    findings
}

/// Offsets of `[` that index: directly behind an expression.
fn indexings(code: &str) -> impl Iterator<Item = usize> + '_ {
    let bytes = code.as_bytes();
    code.match_indices('[').map(|(at, _)| at).filter(|&at| {
        let before = at.checked_sub(1).map_or(b' ', |i| bytes[i]);
        is_word(before) || matches!(before, b')' | b']' | b'?')
    })
}

#[cfg(test)]
mod tests {
    use super::super::snippet;
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        check(&snippet(path, text)).len()
    }

    #[test]
    fn banned_calls_in_shipped_code() {
        for bad in [
            "use std::sync::Mutex;",
            "fn f() { std::thread::sleep(x); }",
            "fn f() { println!(\"x\"); }",
            "fn f() { todo!() }",
            "fn f() { x.unwrap(); }",
            "fn f() { let t = Instant::now(); }",
            "fn f() { std::process::exit(1); }",
            "fn f() { core::hint::spin_loop(); }",
        ] {
            assert_eq!(breaches("src/engine/mod.rs", bad), 1, "{bad}");
            assert_eq!(breaches("features/zero-mqtt/src/lib.rs", bad), 1, "{bad}");
            assert_eq!(breaches("tests/tcp.rs", bad), 0, "{bad}");
            let test = format!("#[cfg(test)]\nmod tests {{ {bad} }}");
            assert_eq!(breaches("src/engine/mod.rs", &test), 0, "{bad}");
        }
    }

    #[test]
    fn look_alikes_and_exceptions_pass() {
        assert_eq!(breaches("src/engine/mod.rs", "fn f() { x.unwrap_or(1); } // Mutex"), 0);
        assert_eq!(breaches("src/ring/uring.rs", "fn f() { Instant::now(); }"), 0);
        assert_eq!(breaches("src/sys/kernel.rs", "fn f() { SystemTime::now(); }"), 0);
    }

    #[test]
    fn parsers_may_not_panic() {
        for bad in ["x.expect(\"y\");", "panic!();", "let a = b[0];", "let a = &f(x)[1..];"] {
            assert_eq!(breaches("src/proto/raw.rs", &format!("fn f() {{ {bad} }}")), 1, "{bad}");
            assert_eq!(breaches("src/pool/slab.rs", &format!("fn f() {{ {bad} }}")), 0, "{bad}");
        }
        let fine = "#[derive(Debug)] struct A<'a>(&'a [u8], [u8; 2]); fn f() { vec![1]; [0; 3] }";
        assert_eq!(breaches("src/proto/raw.rs", fine), 0);
    }

    #[test]
    fn attributes_give_reasons() {
        assert_eq!(breaches("src/ids.rs", "#[allow(dead_code)] fn f() {}"), 1);
        assert_eq!(breaches("tests/a.rs", "#![allow(dead_code)]"), 1);
        assert_eq!(breaches("src/ids.rs", "#[expect(dead_code)] fn f() {}"), 1);
        assert_eq!(breaches("src/ids.rs", "#[expect(dead_code, reason = \"x\")] fn f() {}"), 0);
        assert_eq!(breaches("tests/a.rs", "#[test] #[ignore] fn f() {}"), 1);
        assert_eq!(breaches("tests/a.rs", "#[test] #[ignore = \"slow\"] fn f() {}"), 0);
    }
}
