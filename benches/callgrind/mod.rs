//! Counting instructions: this program again, under valgrind's callgrind, and the difference of a
//! short and a long run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Instructions by source file.
pub(crate) type Costs = BTreeMap<String, u64>;

/// Instructions by source file of one run under callgrind.
pub(crate) fn count(args: &[&str]) -> Costs {
    let out = std::env::temp_dir().join(format!("zero-io-callgrind.{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--dump-line=yes", "--compress-strings=no"]);
    command.args(["--compress-pos=no", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe().expect("a path"));
    command.args(args);
    let status = command.status().expect("valgrind is not installed: cargo xtask setup");
    assert!(status.success(), "the run under valgrind failed: {status}");
    let text = std::fs::read_to_string(&out).expect("callgrind wrote no file");
    std::fs::remove_file(&out).expect("removable");
    own_cost(&text)
}

/// Sums self cost by file over the functions of the engine: format "callgrind.out", valgrind manual
/// chapter 6.
fn own_cost(text: &str) -> Costs {
    let mut costs = BTreeMap::new();
    let (mut function, mut file, mut skip) = (String::new(), String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            name.clone_into(&mut function);
        } else if let Some(name) = line.strip_prefix("fl=").or_else(|| line.strip_prefix("fi=")) {
            name.clone_into(&mut file);
        } else if let Some(name) = line.strip_prefix("fe=") {
            name.clone_into(&mut file);
        } else if line.starts_with("calls=") {
            // The next line is the callee's cost.
            skip = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit())
            && !std::mem::take(&mut skip)
            && let Some(label) = label(&function, &file)
            && let Some(cost) = line.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok())
        {
            *costs.entry(label).or_default() += cost;
        }
    }
    costs
}

/// The engine's file that a line belongs to; `None` for the simulated kernel, this driver and
/// libraries.
fn label(function: &str, file: &str) -> Option<String> {
    let engine = function.contains("zero_io::") && !function.contains("zero_io::sim");
    // The benchmarks' own crates are named so.
    let (krate, _) = function.split_once("::").unwrap_or_default();
    let inlined = krate.ends_with("instructions") || function.contains("httparse::");
    if !(engine || inlined) || file.contains("/quinn-proto-") {
        return None;
    }
    match file.rfind("/src/") {
        Some(at) if !file.contains("/library/") && !file.starts_with("/rustc") => {
            let name = &file[at + 5..];
            (!name.starts_with("sim/") && Path::new(name).extension().is_some())
                .then(|| name.to_owned())
        }
        // What the standard library inlined into the engine's functions.
        _ => (engine && file.contains("library")).then(|| "std, inlined".to_owned()),
    }
}

/// What `count` more operations cost, each.
pub(crate) fn difference(short: &Costs, long: &Costs, count: f64) -> BTreeMap<String, f64> {
    long.iter()
        .map(|(file, cost)| {
            let before = short.get(file).copied().unwrap_or(0);
            (file.clone(), (*cost as f64 - before as f64) / count)
        })
        .collect()
}

/// Prints the parts that cost anything, the dearest first.
pub(crate) fn print(parts: BTreeMap<String, f64>) {
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (file, cost) in parts.iter().filter(|(_, cost)| *cost >= 1.0) {
        println!("|   {file} | {cost:.0} |");
    }
}
