//! Features gate files, not lines: `cfg(feature ..)` stands only in the files that list modules.

use super::Finding;
use super::source::{Source, close_of, words};

/// The files of the engine in which a feature may be asked for.
const ALLOWED: &[&str] = &[
    "src/lib.rs",
    "src/cluster/mod.rs",
    "src/config/mod.rs",
    "src/config/tls/mod.rs",
    "src/engine/mod.rs",
    "src/http/mod.rs",
    "src/io/mod.rs",
    "src/pool/mod.rs",
    "src/proto/http/mod.rs",
    "src/proto/mod.rs",
    "src/proto/quic/mod.rs",
    "src/transport/mod.rs",
    "src/event/mod.rs",
    "src/event/record.rs",
    "src/ring/mod.rs",
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !source.in_engine() || ALLOWED.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for opening in ["cfg(", "cfg_attr(", "cfg!("] {
        for at in words(&source.shipped, opening) {
            let open = at + opening.len() - 1;
            let end = close_of(&source.shipped, open).unwrap_or(source.shipped.len());
            if words(&source.shipped[open..end], "feature").next().is_some() {
                let what = "a feature is asked for here: gate the module instead";
                findings.push(Finding::new(&source.path, source.line_of(at), what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::snippet;
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        check(&snippet(path, text)).len()
    }

    #[test]
    fn features_only_where_modules_are_listed() {
        let gated = "#[cfg(feature = \"tcp\")]\nmod tcp;";
        assert_eq!(breaches("src/io/mod.rs", gated), 0);
        assert_eq!(breaches("src/engine/mod.rs", gated), 0);
        assert_eq!(breaches("src/engine/recv.rs", gated), 1);
        assert_eq!(
            breaches("src/engine/recv.rs", "#[cfg(all(unix, feature = \"x\"))] fn f() {}"),
            1
        );
        assert_eq!(breaches("src/engine/recv.rs", "fn f() { if cfg!(feature = \"x\") {} }"), 1);
        assert_eq!(breaches("src/engine/recv.rs", "#[cfg(loom)] fn f() {} // cfg(feature)"), 0);
        assert_eq!(breaches("features/zero-mqtt/src/lib.rs", gated), 0);
    }
}
