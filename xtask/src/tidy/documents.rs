//! What the prose promises: features, errors, links, decisions, a change log, and no path of any
//! machine.

use super::Finding;
use super::lexer::mask;
use super::markdown::{anchors, cell_code, links, tables};
use super::source::{close_of, files, relative};
use crate::manifest::{self, Feature};
use crate::{Outcome, paths};
use std::path::Path;

/// Paths of one machine, in halves so that this file does not find itself.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/fa", "rm/"),
    concat!("/tmp/", "bash"),
    concat!(".cargo/reg", "istry/src"),
];

pub(crate) fn check(root: &Path) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    let manifest = paths::read(&root.join("Cargo.toml"))?;
    match std::fs::read_to_string(root.join("README.md")) {
        Ok(readme) => findings.extend(feature_table(&readme, &manifest)),
        Err(e) => findings.push(Finding::new("README.md", 0, e.to_string())),
    }
    match std::fs::read_to_string(root.join("CHANGELOG.md")) {
        Ok(log) => findings.extend(changelog(&log)),
        Err(e) => findings.push(Finding::new("CHANGELOG.md", 0, e.to_string())),
    }
    findings.extend(decisions(root)?);
    findings.extend(error_sections(
        &paths::read(&root.join("docs/ERRORS.md"))?,
        &paths::read(&root.join("src/error.rs"))?,
        &paths::read(&root.join("src/code.rs"))?,
    ));
    for path in files(root) {
        let name = relative(root, &path);
        // What is not text has no paths to read.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        findings.extend(machine_paths(&name, &text));
        if name.ends_with(".md") {
            findings.extend(dead_links(&name, &text, path.parent().unwrap_or(root)));
        }
    }
    Ok(findings)
}

/// The README's table whose header begins with `Feature` and `Default`, against the manifest.
fn feature_table(readme: &str, manifest: &str) -> Vec<Finding> {
    let path = "README.md";
    let found = tables(readme).into_iter().find(|t| t.header.starts_with(&header()));
    let Some(table) = found else {
        return vec![Finding::new(path, 0, "no table with the columns `Feature`, `Default`")];
    };
    let features = manifest::features(manifest);
    let mut findings = Vec::new();
    for (line, cells) in &table.rows {
        let name = cell_code(&cells[0]);
        let says_default = cells.get(1).is_some_and(|cell| cell == "yes");
        let feature = features.iter().find(|feature| feature.name == name);
        match feature.filter(|feature| feature.is_public()) {
            None => findings.push(Finding::new(path, *line, format!("no feature `{name}`"))),
            Some(feature) if feature.default != says_default => {
                let truth = if feature.default { "yes" } else { "no" };
                let what = format!("`{name}`: default is {truth}");
                findings.push(Finding::new(path, *line, what));
            }
            Some(_) => {}
        }
    }
    for Feature { name, .. } in features.iter().filter(|feature| feature.is_public()) {
        if !table.rows.iter().any(|(_, cells)| cell_code(&cells[0]) == name) {
            findings.push(Finding::new(path, 0, format!("feature `{name}` has no row")));
        }
    }
    findings
}

fn header() -> [String; 2] {
    ["Feature", "Default"].map(String::from)
}

fn changelog(text: &str) -> Vec<Finding> {
    let unreleased = |line: &str| {
        line.starts_with("## ") && line.trim_matches(['#', ' ', '[', ']']) == "Unreleased"
    };
    match text.lines().any(unreleased) {
        true => Vec::new(),
        false => vec![Finding::new("CHANGELOG.md", 0, "no `## Unreleased` section")],
    }
}

/// Decisions are numbered from 0001 without a gap, and their titles carry the number.
fn decisions(root: &Path) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    for (i, path) in paths::list(&root.join("docs/adr")).iter().enumerate() {
        let name = relative(root, path);
        let text = paths::read(path)?;
        findings.extend(decision(&name, i + 1, &text));
    }
    Ok(findings)
}

fn decision(path: &str, number: usize, text: &str) -> Vec<Finding> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let mut findings = Vec::new();
    if !(file.starts_with(&format!("{number:04}-")) && file.ends_with(".md")) {
        findings.push(Finding::new(path, 0, format!("expected {number:04}-TITLE.md here")));
    }
    if !text.starts_with(&format!("# {number:04}: ")) {
        findings.push(Finding::new(path, 1, format!("the title begins with `# {number:04}: `")));
    }
    findings
}

/// Each variant of `IoError` has a section in docs/ERRORS.md, and each `code` a row.
fn error_sections(document: &str, errors: &str, codes: &str) -> Vec<Finding> {
    let path = "docs/ERRORS.md";
    let mut findings = Vec::new();
    for variant in variants(errors, "IoError") {
        if !document.lines().any(|line| line == format!("### `{variant}`")) {
            findings.push(Finding::new(path, 0, format!("no section `{variant}`")));
        }
    }
    let names = codes.lines().filter_map(|line| line.strip_prefix("pub const "));
    for name in names.filter_map(|rest| rest.split_once(": u64 =").map(|(name, _)| name)) {
        let row = format!("| `{name}` |");
        if name != "FIRST_OWN" && !document.lines().any(|line| line.starts_with(&row)) {
            findings.push(Finding::new(path, 0, format!("no row for the code `{name}`")));
        }
    }
    findings
}

/// Names of the variants of an enum, from its source.
fn variants(source: &str, name: &str) -> Vec<String> {
    let code = mask(source);
    let Some(at) = code.find(&format!("enum {name} {{")) else { return Vec::new() };
    let open = at + code[at..].find('{').unwrap_or(0);
    let end = close_of(&code, open).unwrap_or(code.len());
    // Variants stand one level in; their fields stand deeper.
    let lines = code[open + 1..end].lines().filter_map(|line| line.strip_prefix("    "));
    let heads = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    heads.map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
}

fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for found in MACHINE_PATHS.iter().filter(|machine| line.contains(**machine)) {
            findings.push(Finding::new(path, i + 1, format!("`{found}` is one machine's path")));
        }
    }
    findings
}

fn dead_links(path: &str, text: &str, dir: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let other = dir.join(file);
        let aim = match file {
            "" => Some(text.to_string()),
            _ if other.is_dir() => Some(String::new()),
            _ => std::fs::read(&other).ok().map(|b| String::from_utf8_lossy(&b).into_owned()),
        };
        let alive = match aim {
            None => false,
            Some(aim) => anchor.is_empty() || anchors(&aim).iter().any(|known| known == anchor),
        };
        if !alive {
            findings.push(Finding::new(path, line, format!("dead link: {target}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"x\"\n[features]\ndefault = [\"tcp\"]\n\
        # A comment.\ntcp = []\nweb = [\n  \"tcp\",\n]\n_sim = []\n\n\
        [dependencies]\nlibc = \"1\"\n";

    fn readme(rows: &str) -> usize {
        let text = format!("| Feature | Default | Adds |\n|---|---|---|\n{rows}");
        feature_table(&text, MANIFEST).len()
    }

    #[test]
    fn features_and_the_readme_agree() {
        assert_eq!(readme("| `tcp` | yes | a |\n| `web` | | b |\n"), 0);
        assert_eq!(readme("| `tcp` | yes | a |\n"), 1);
        assert_eq!(readme("| `tcp` | | a |\n| `web` | | b |\n"), 1);
        assert_eq!(readme("| `tcp` | yes | a |\n| `web` | | b |\n| `quic` | | c |\n"), 1);
        assert_eq!(readme("| `tcp` | yes | a |\n| `web` | | b |\n| `_sim` | | c |\n"), 1);
        assert_eq!(feature_table("no table", MANIFEST).len(), 1);
    }

    #[test]
    fn the_change_log_has_a_place_for_news() {
        assert_eq!(changelog("# Changes\n\n## [Unreleased]\n"), []);
        assert_eq!(changelog("# Changes\n\n## 0.1.0\n").len(), 1);
    }

    #[test]
    fn decisions_are_numbered() {
        assert_eq!(decision("docs/adr/0002-b.md", 2, "# 0002: B\n"), []);
        assert_eq!(decision("docs/adr/0003-b.md", 2, "# 0003: B\n").len(), 2);
        assert_eq!(decision("docs/adr/0001-a.md", 1, "# A\n").len(), 1);
    }

    #[test]
    fn errors_are_documented() {
        let errors = "pub enum IoError {\n    /// A.\n    #[error(\"x\")]\n    Old {\n        \
                      /// F.\n        field: u8,\n    },\n    Gone,\n}\n";
        let codes = "pub const NONE: u64 = 0;\npub const FIRST_OWN: u64 = 1;\n";
        assert_eq!(variants(errors, "IoError"), ["Old", "Gone"]);
        let document = "### `Old`\n### `Gone`\n| `NONE` | x |\n";
        assert_eq!(error_sections(document, errors, codes), []);
        assert_eq!(error_sections("### `Old`\n", errors, codes).len(), 2);
    }

    #[test]
    fn machine_paths_are_found() {
        let bad = format!("see {}notes", MACHINE_PATHS[0]);
        assert_eq!(machine_paths("a.md", &bad).len(), 1);
        assert_eq!(machine_paths("a.md", "the network/path and /proc/self"), []);
    }

    #[test]
    fn links_lead_somewhere() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let check = |text: &str| dead_links("a.md", text, dir).len();
        assert_eq!(check("[a](Cargo.toml) [b](src) [c](https://example.org/x)"), 0);
        assert_eq!(check("# Top\n[a](#top)"), 0);
        assert_eq!(check("[a](nowhere.md)"), 1);
        assert_eq!(check("# Top\n[a](#bottom)"), 1);
    }
}
