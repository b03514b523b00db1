//! One Rust file of the tree: its text, the text without comments and literals, and which lines of
//! it are tests.

use super::lexer::{is_word, mask};
use crate::{Outcome, paths};
use std::path::{Path, PathBuf};

/// Directories that hold nothing of ours, wherever they are.
const SKIPPED_DIRS: &[&str] =
    &[".git", "target", "corpus", "artifacts", "coverage", "node_modules", "run", ".venv"];

/// A file with its views.
pub(crate) struct Source {
    /// From the workspace root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` without comments and literals: same offsets.
    pub(crate) code: String,
    /// `code` without test items: same offsets.
    pub(crate) shipped: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = mask(text);
        let shipped = without_tests(&code);
        Self { path: path.to_string(), text: text.to_string(), code, shipped }
    }

    /// Whether this is part of the engine crate.
    pub(crate) fn in_engine(&self) -> bool {
        self.path.starts_with("src/")
    }

    /// Whether this is compiled for users: the engine and the protocol crates.
    pub(crate) fn ships(&self) -> bool {
        self.in_engine() || (self.path.starts_with("features/") && self.path.contains("/src/"))
    }

    /// Line number, from 1, of a byte offset.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset].iter().filter(|&&b| b == b'\n').count()
    }

    /// Offsets of `word` in the shipped code, where it stands as a whole word.
    pub(crate) fn shipped_words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        words(&self.shipped, word)
    }
}

/// Offsets at which `pattern` stands in `code` and no identifier goes on at either end.
pub(crate) fn words<'a>(code: &'a str, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(pattern).map(|(at, _)| at).filter(move |&at| {
        let end = at + pattern.len();
        let begins = !is_word(pattern.as_bytes()[0]) || at == 0 || !is_word(bytes[at - 1]);
        let last = pattern.as_bytes()[pattern.len() - 1];
        let ends = !is_word(last) || bytes.get(end).is_none_or(|&b| !is_word(b));
        begins && ends
    })
}

/// The offset just behind the bracket that closes the one at `open`.
pub(crate) fn close_of(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// `code` with every item under `#[test]` or `#[cfg(.. test ..)]` blanked out.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut at = 0;
    while let Some(found) = code[at..].find("#[") {
        let open = at + found + 1;
        let Some(end) = close_of(code, open) else { break };
        at = end;
        if is_test_attribute(&code[open + 1..end - 1]) {
            let item_end = item_end(code, end);
            for byte in &mut out[open - 1..item_end] {
                *byte = if *byte == b'\n' { b'\n' } else { b' ' };
            }
            at = item_end;
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

fn is_test_attribute(attribute: &str) -> bool {
    let attribute: String = attribute.split_whitespace().collect();
    if attribute == "test" {
        return true;
    }
    let Some(predicate) = attribute.strip_prefix("cfg(") else { return false };
    let positive = predicate.replace("not(test)", "").replace("any(test,", "");
    words(&positive, "test").next().is_some()
}

/// Where the item that follows offset `at` ends: behind its block, or behind its semicolon.
fn item_end(code: &str, mut at: usize) -> usize {
    let bytes = code.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b';' => return at + 1,
            b'{' => {
                let end = close_of(code, at).unwrap_or(code.len());
                // `use a::{b};` goes on to its semicolon.
                return end + usize::from(bytes.get(end) == Some(&b';'));
            }
            b'(' | b'[' => at = close_of(code, at).unwrap_or(code.len()),
            _ => at += 1,
        }
    }
    code.len()
}

/// Every Rust file of the workspace, without those that are test modules as a whole.
pub(crate) fn load(root: &Path) -> Outcome<Vec<Source>> {
    let mut sources = Vec::new();
    for path in files(root) {
        let name = relative(root, &path);
        let foreign = name.starts_with("benches/peers/");
        if name.ends_with(".rs") && !foreign {
            sources.push(Source::new(&name, &paths::read(&path)?));
        }
    }
    let test_modules: Vec<String> = sources.iter().flat_map(test_module_paths).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod").to_string();
        if test_modules.iter().any(|m| stem == *m || stem.starts_with(&format!("{m}/"))) {
            source.shipped = source.shipped.chars().map(blank).collect();
        }
    }
    Ok(sources)
}

fn blank(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

/// Paths without ending of the modules that `source` declares as `#[cfg(test)] mod NAME;`, with or
/// without a `#[path]`.
fn test_module_paths(source: &Source) -> Vec<String> {
    let (code, shipped) = (&source.code, &source.shipped);
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let dir = match source.path.rsplit_once('/') {
        Some((dir, "mod.rs" | "lib.rs" | "main.rs")) => dir.to_string(),
        _ => source.path.trim_end_matches(".rs").to_string(),
    };
    let mut found = Vec::new();
    for at in words(code, "mod") {
        let in_test = shipped.as_bytes()[at] == b' ';
        let declaration = code[at + 3..].split([';', '{']).next().unwrap_or_default();
        let is_file = code[at + 3 + declaration.len()..].starts_with(';');
        if in_test && is_file {
            let named = path_attribute(source, at).map(|file| format!("{folder}/{file}"));
            let path = named.unwrap_or_else(|| format!("{dir}/{}", declaration.trim()));
            found.push(path.trim_end_matches(".rs").to_string());
        }
    }
    found
}

/// What `#[path = ".."]` says among the attributes right before offset `at`.
fn path_attribute(source: &Source, at: usize) -> Option<&str> {
    let begin = source.code[..at].rfind([';', '}', '{']).map_or(0, |end| end + 1);
    let attribute = words(&source.code[begin..at], "path").next()?;
    source.text[begin + attribute..at].split('"').nth(1)
}

/// Every file below `root` that is ours.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for path in paths::list(&dir) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let skipped = SKIPPED_DIRS.contains(&&*name) || path.join("CACHEDIR.TAG").exists();
            match path.is_dir() && !path.is_symlink() {
                true if !skipped => dirs.push(path),
                true => {}
                // In a linked worktree `.git` is a file.
                false if !skipped => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// `path` from `root`, with forward slashes.
pub(crate) fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(text: &str) -> String {
        let source = Source::new("src/x.rs", text);
        source.shipped.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn test_items_are_left_out() {
        assert_eq!(
            shipped("fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}"),
            "fn a() {} fn c() {}"
        );
        assert_eq!(shipped("#[cfg(test)] use x::{y, z}; fn a() {}"), "fn a() {}");
        assert_eq!(shipped("#[cfg(all(loom, test))] mod m { } k"), "k");
        assert_eq!(shipped("#[test] fn t() { if x { } } k"), "k");
        assert_eq!(shipped("#[cfg(not(test))] fn t() {}"), "#[cfg(not(test))] fn t() {}");
        assert_eq!(shipped("#[cfg(any(test, a))] fn t() {}"), "#[cfg(any(test, a))] fn t() {}");
        assert_eq!(shipped("#[cfg(test)] #[expect(x)] fn t(a: [u8; 2]) -> u8 { 1 } k"), "k");
    }

    #[test]
    fn a_declared_test_file_is_known() {
        let paths =
            |path: &str| test_module_paths(&Source::new(path, "#[cfg(test)]\nmod t;\nmod u;"));
        assert_eq!(paths("src/pool/mod.rs"), ["src/pool/t"]);
        assert_eq!(paths("src/pool/slab.rs"), ["src/pool/slab/t"]);
        let text = "mod a;\n#[cfg(test)]\n#[path = \"b_tests.rs\"]\nmod tests;";
        let paths = test_module_paths(&Source::new("src/pool/slab.rs", text));
        assert_eq!(paths, ["src/pool/b_tests"]);
    }

    #[test]
    fn words_have_edges() {
        let found: Vec<_> = words("unsafe unsafer x_unsafe (unsafe)", "unsafe").collect();
        assert_eq!(found, [0, 25]);
        assert_eq!(words("a.unwrap() b.unwrap_or(1)", ".unwrap()").count(), 1);
    }
}
