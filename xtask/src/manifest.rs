//! As much of a `Cargo.toml` as the chores need to know.

/// A line `name = value`, or several up to the closing bracket, of `[features]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    pub(crate) name: String,
    /// Named by `default`.
    pub(crate) default: bool,
}

impl Feature {
    /// Whether users may name it; those that begin with `_` are ours.
    pub(crate) fn is_public(&self) -> bool {
        !self.name.starts_with('_')
    }
}

/// Every feature but `default` itself, in the manifest's order.
pub(crate) fn features(manifest: &str) -> Vec<Feature> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[features]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let section: String = lines.map(|line| line.split('#').next().unwrap_or_default()).collect();
    let entries = section.split(']').filter_map(|entry| entry.split_once('='));
    let entries: Vec<(&str, &str)> = entries.map(|(name, list)| (name.trim(), list)).collect();
    let defaults = entries.iter().find(|(name, _)| *name == "default").map_or("", |(_, list)| list);
    let others = entries.iter().filter(|(name, _)| *name != "default");
    let feature = |name: &str| Feature {
        name: name.to_string(),
        default: defaults.contains(&format!("\"{name}\"")),
    };
    others.map(|(name, _)| feature(name)).collect()
}

/// A `[[bench]]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bench {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
}

/// Every bench, in the manifest's order.
pub(crate) fn benches(manifest: &str) -> Vec<Bench> {
    let sections = manifest.split("\n[").filter_map(|section| section.strip_prefix("[bench]]\n"));
    let bench = |section: &str| {
        let value = |key: &str| {
            let found = section.lines().filter_map(|line| line.split_once('='));
            found.filter(|(name, _)| name.trim() == key).map(|(_, value)| strings(value)).next()
        };
        let name = value("name").and_then(|names| names.into_iter().next()).unwrap_or_default();
        Bench { name, features: value("required-features").unwrap_or_default() }
    };
    sections.map(bench).collect()
}

/// What stands in quotes.
fn strings(value: &str) -> Vec<String> {
    value.split('"').skip(1).step_by(2).map(String::from).collect()
}

/// The declared minimum compiler version.
pub(crate) fn rust_version(manifest: &str) -> Option<String> {
    let line = manifest.lines().find(|line| line.starts_with("rust-version"))?;
    line.split('"').nth(1).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_with_what_they_require() {
        let manifest = "[package]\nname = \"x\"\n\n[[test]]\nname = \"t\"\n\n[[bench]]\n\
                        name = \"a\"\nharness = false\nrequired-features = [\"b\", \"_sim\"]\n\n\
                        [[bench]]\nname = \"c\"\npath = \"d\"\n\n[lints]\nx = []\n";
        let found = benches(manifest);
        let found: Vec<_> = found.iter().map(|b| (b.name.as_str(), b.features.join(","))).collect();
        assert_eq!(found, [("a", "b,_sim".to_string()), ("c", String::new())]);
    }

    #[test]
    fn features_and_defaults() {
        let manifest = "rust-version = \"1.95\"\n[features]\ndefault = [\"tcp\"] # a\n# b = []\n\
                        tcp = []\nweb = [\n  \"tcp\", # c\n]\n_sim = []\n\n[lints]\nx = []\n";
        let found = features(manifest);
        let names: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.default)).collect();
        assert_eq!(names, [("tcp", true), ("web", false), ("_sim", false)]);
        assert!(found[1].is_public() && !found[2].is_public());
        assert_eq!(rust_version(manifest).as_deref(), Some("1.95"));
    }
}
