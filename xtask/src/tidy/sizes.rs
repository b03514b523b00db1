//! Sizes: files of one noun, functions that fit a screen, lines of 100 columns, examples that are
//! read at a glance, and a header that says what the file is for.

use super::Finding;
use super::lexer::is_word;
use super::source::{Source, close_of};

/// Lines of a file, tests not counted.
const FILE_LINES_MAX: usize = 700;
/// Lines of code of a function: blank lines and comments not counted.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line.
const COLUMNS_MAX: usize = 100;

/// Lines of a file of the examples, all of them counted.
const EXAMPLE_LINES_MAX: usize = 80;

/// Files of examples that may be longer, and why.
const LONG_EXAMPLES: &[(&str, &str)] = &[
    ("examples/cluster.rs", "a whole server: five protocols on several shards, and how they end"),
    ("examples/http_client.rs", "a command with options, as users of curl know them"),
    ("examples/http_workers.rs", "both that workers do: calculate, and take a body as it comes"),
    ("examples/quic_client.rs", "a command with options, and every way in which a stream ends"),
    (
        "examples/quic/echo.rs",
        "what several examples share: the echo of streams, with back-pressure",
    ),
    (
        "examples/quic_perf/client.rs",
        "a measuring program: three kinds of load, and what it prints",
    ),
];

/// Functions that may be longer: file, name, and why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] =
    &[("src/config/mod.rs", "validate", "one row per field: two halves would be two tables")];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let path = &source.path;
    let mut findings = Vec::new();
    for (i, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            let what = format!("{columns} columns, at most {COLUMNS_MAX}");
            findings.push(Finding::new(path, i + 1, what));
        }
    }
    let is_test_file = path.starts_with("tests/") || path.contains("/tests/");
    if is_test_file {
        return findings;
    }
    findings.extend(example(source));
    if !source.text.starts_with("//!") && !source.text.starts_with("#!") {
        let what = "no `//!` header: role, not-role, invariants";
        findings.push(Finding::new(path, 1, what));
    }
    let lines = shipped_line_count(source);
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines without tests, at most {FILE_LINES_MAX}");
        findings.push(Finding::new(path, 0, what));
    }
    for Function { name, at, lines } in functions(&source.shipped) {
        let excepted = LONG_FUNCTIONS.iter().any(|(file, long, _)| file == path && *long == name);
        if lines > FUNCTION_LINES_MAX && !excepted {
            let what = format!("`{name}`: {lines} lines of code, at most {FUNCTION_LINES_MAX}");
            findings.push(Finding::new(path, source.line_of(at), what));
        }
    }
    findings
}

/// An example that is too long, or that is named as one and is not.
fn example(source: &Source) -> Option<Finding> {
    if !source.path.starts_with("examples/") {
        return None;
    }
    let lines = source.text.lines().count();
    let excepted = LONG_EXAMPLES.iter().any(|(file, _)| *file == source.path);
    let what = match (lines > EXAMPLE_LINES_MAX, excepted) {
        (true, false) => format!("{lines} lines, an example has at most {EXAMPLE_LINES_MAX}"),
        (false, true) => format!("{lines} lines: LONG_EXAMPLES has no need to name it"),
        _ => return None,
    };
    Some(Finding::new(&source.path, 0, what))
}

/// Lines that are not wholly inside a test item.
fn shipped_line_count(source: &Source) -> usize {
    let lines = source.code.lines().zip(source.shipped.lines());
    lines.filter(|(code, shipped)| !shipped.trim().is_empty() || code.trim().is_empty()).count()
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) at: usize,
    lines: usize,
}

/// Functions with a body, nested ones too.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for at in super::source::words(code, "fn ") {
        let name: String = code[at + 3..].chars().take_while(|c| is_word(*c as u8)).collect();
        let Some(open) = body_of(code, at) else { continue };
        let Some(end) = close_of(code, open) else { continue };
        if !name.is_empty() {
            let lines = code[at..end].lines().filter(|line| !line.trim().is_empty()).count();
            found.push(Function { name, at, lines });
        }
    }
    found
}

/// Where the body of the function or `impl` at `at` opens; `None` for one without a body.
pub(super) fn body_of(code: &str, at: usize) -> Option<usize> {
    let bytes = code.as_bytes();
    let mut i = at;
    while i < bytes.len() {
        match bytes[i] {
            b';' => return None,
            b'{' => return Some(i),
            b'(' | b'[' => i = close_of(code, i)?,
            _ => i += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::snippet;
    use super::*;

    fn breaches(text: &str) -> Vec<String> {
        let found = check(&snippet("src/pool/slab.rs", &format!("//! A slab.\n{text}")));
        found.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn long_lines_functions_and_files() {
        assert!(breaches("fn f() {}").is_empty());
        assert_eq!(breaches(&format!("// {}", "é".repeat(97))).len(), 0);
        assert_eq!(breaches(&format!("// {}", "é".repeat(98))).len(), 1);
        let body = "    x();\n".repeat(FUNCTION_LINES_MAX - 1);
        assert_eq!(breaches(&format!("fn f(a: [u8; 3]) -> u8 {{\n{body}}}")).len(), 1);
        let noise = "    // why\n\n".repeat(FUNCTION_LINES_MAX);
        assert_eq!(breaches(&format!("fn f() {{\n{noise}}}")).len(), 0);
        assert_eq!(breaches(&"const A: u8 = 1;\n".repeat(FILE_LINES_MAX)).len(), 1);
        let tests = "#[cfg(test)]\nmod tests {\n".to_string() + &"fn a() {}\n".repeat(900) + "}\n";
        assert_eq!(breaches(&tests).len(), 0);
    }

    #[test]
    fn examples_are_short_or_named() {
        let breaches = |path: &str, lines: usize| {
            let text = format!("//! An example.\n{}", "// x\n".repeat(lines - 1));
            check(&snippet(path, &text)).len()
        };
        assert_eq!(breaches("examples/tcp_echo.rs", EXAMPLE_LINES_MAX), 0);
        assert_eq!(breaches("examples/tcp_echo.rs", EXAMPLE_LINES_MAX + 1), 1);
        assert_eq!(breaches("examples/showcase/main.rs", EXAMPLE_LINES_MAX + 1), 1);
        assert_eq!(breaches("examples/cluster.rs", EXAMPLE_LINES_MAX + 1), 0);
        assert_eq!(breaches("examples/cluster.rs", EXAMPLE_LINES_MAX), 1);
        assert_eq!(breaches("src/ids.rs", EXAMPLE_LINES_MAX + 1), 0);
    }

    #[test]
    fn a_header_is_owed() {
        assert_eq!(check(&snippet("src/pool/slab.rs", "fn f() {}")).len(), 1);
        assert_eq!(check(&snippet("tests/tcp.rs", "fn f() {}")).len(), 0);
    }

    #[test]
    fn functions_without_a_body_and_function_types() {
        let found = functions("trait T { fn a(&self); fn b() { } } const F: fn(u8) = x;");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "b");
    }
}
