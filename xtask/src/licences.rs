//! What we depend on may be used as we wish to be used; and the engine pulls in no async runtime.
//!
//! The list of licences is the one of `deny.toml`, so that cargo-deny and this check agree. An
//! expression is satisfied when the choice that it offers can be made within the list.

use crate::args::Args;
use crate::board::{Report, Step};
use crate::job::Job;
use crate::{Outcome, paths};

/// Crates that bring an executor or an event loop of their own.
const ASYNC_RUNTIMES: &[&str] = &[
    "async-executor",
    "async-io",
    "async-std",
    "compio",
    "embassy-executor",
    "futures-executor",
    "glommio",
    "mio",
    "monoio",
    "smol",
    "tokio",
    "tokio-uring",
];

pub(crate) fn run(args: Args) -> Outcome<()> {
    args.finish()?;
    step().map(|report| println!("{}", report.note)).map_err(|failure| failure.why)
}

pub(crate) fn step() -> Step {
    let allowed = allowed(&paths::read(&paths::root()?.join("deny.toml"))?)?;
    // Everything that any build of the workspace may compile.
    let everything = ["--workspace", "--all-features", "--target", "all", "--edges", "all"];
    let mut all = tree(&everything)?;
    // And what its tests talk to.
    all.extend(tree(&["--workspace", "--manifest-path", "tests/peers/Cargo.toml"])?);
    let mut bad: Vec<String> = Vec::new();
    for (name, licence) in &all {
        if !satisfied(licence, &allowed) {
            bad.push(format!("{name}: licence `{licence}` is not in deny.toml's list"));
        }
    }
    // What a user of the defaults compiles.
    let shipped = tree(&["--package", "zero-io", "--edges", "normal,build"])?;
    for (name, _) in &shipped {
        if ASYNC_RUNTIMES.contains(&name.split(' ').next().unwrap_or_default()) {
            bad.push(format!("{name}: an async runtime in the default features"));
        }
    }
    match bad.is_empty() {
        true => Ok(Report::note(format!("{} crates, {} by default", all.len(), shipped.len()))),
        false => Err(bad.join("\n").into()),
    }
}

/// Crates with their licence expressions, as cargo resolves them.
fn tree(words: &[&str]) -> Outcome<Vec<(String, String)>> {
    let format = ["--prefix", "none", "--format", "{p}\t{l}"];
    let job = Job::cargo(&["tree"]).args(words.iter().copied()).args(format);
    let ran = job.quiet().run()?;
    let mut found: Vec<(String, String)> = Vec::new();
    for line in ran.lines.iter().filter(|line| line.contains('\t')) {
        // A line seen before ends with `(*)`.
        let (name, licence) = line.split_once('\t').unwrap_or((line, ""));
        let entry = (name.to_string(), licence.trim_end_matches("(*)").trim().to_string());
        if !found.contains(&entry) {
            found.push(entry);
        }
    }
    match ran.ok && !found.is_empty() {
        true => Ok(found),
        false => Err(format!("cargo tree: {}\n{}", ran.end, ran.lines.join("\n"))),
    }
}

/// The `allow` list of the `[licenses]` section.
fn allowed(deny: &str) -> Outcome<Vec<String>> {
    let section = deny.split("[licenses]").nth(1).unwrap_or_default();
    let list = section.split("allow = [").nth(1).and_then(|rest| rest.split(']').next());
    let list = list.ok_or("deny.toml: no `allow = [` under [licenses]")?;
    Ok(list.split('"').skip(1).step_by(2).map(String::from).collect())
}

/// Whether an SPDX expression can be met: `AND` binds closer than `OR`; `/` is the old `OR`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Expression { tokens: &tokens, at: 0, allowed };
    let met = parser.any();
    met && !tokens.is_empty() && parser.at == tokens.len()
}

struct Expression<'a> {
    tokens: &'a [&'a str],
    at: usize,
    allowed: &'a [String],
}

impl Expression<'_> {
    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.get(self.at) == Some(&token);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> bool {
        let mut met = self.all();
        while self.take("OR") {
            met |= self.all();
        }
        met
    }

    fn all(&mut self) -> bool {
        let mut met = self.one();
        while self.take("AND") {
            met &= self.one();
        }
        met
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let met = self.any();
            return self.take(")") && met;
        }
        let Some(&name) = self.tokens.get(self.at) else { return false };
        self.at += 1;
        let exception = if self.take("WITH") { self.tokens.get(self.at).copied() } else { None };
        self.at += usize::from(exception.is_some());
        let whole = exception.map_or_else(|| name.to_string(), |e| format!("{name} WITH {e}"));
        // An exception only ever grants more.
        self.allowed.iter().any(|licence| *licence == whole || licence == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, expected: bool) {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(String::from);
        assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
    }

    #[test]
    fn expressions() {
        check("MIT", true);
        check("GPL-3.0", false);
        check("", false);
        check("MIT OR GPL-3.0", true);
        check("MIT/Apache-2.0", true);
        check("MIT AND GPL-3.0", false);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("(MIT OR Apache-2.0) AND GPL-3.0", false);
        check("GPL-3.0 OR MIT AND Unicode-3.0", true);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("Unlicense OR MIT", true);
        check("(MIT", false);
        check("MIT Apache-2.0", false);
    }

    #[test]
    fn the_list_is_read_from_the_deny_file() {
        let deny =
            "[bans]\nx = 1\n[licenses]\nversion = 2\nallow = [\n  \"MIT\", # a\n  \"ISC\",\n]\n";
        assert_eq!(allowed(deny), Ok(vec!["MIT".to_string(), "ISC".to_string()]));
        assert!(allowed("[licenses]\n").is_err());
    }
}
