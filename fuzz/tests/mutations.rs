//! Every target on its seeds and on mutations of them: what runs where libFuzzer cannot.
//!
//! ZERO_IO_FUZZ_SECONDS for each target (default 1); ZERO_IO_FUZZ_TARGET for one of them only.

use std::path::Path;
use std::time::{Duration, Instant};
use zero_io_fuzz::mutate::Mutator;
use zero_io_fuzz::{TARGETS, Target};

/// Inputs between two looks at the clock.
const BATCH: u32 = 256;

/// Prints the input when the target panics.
struct Culprit<'a>(&'a str, &'a [u8]);

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("target {} panicked on {} bytes: {hex}", self.0, self.1.len());
        }
    }
}

fn run_guarded(target: &Target, bytes: &[u8]) {
    let _culprit = Culprit(target.name, bytes);
    (target.run)(bytes);
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
    let entries = std::fs::read_dir(&dir);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(!paths.is_empty(), "{} has no seed", dir.display());
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable seed")).collect()
}

#[test]
fn every_target_takes_seeds_and_mutations() {
    let only = std::env::var("ZERO_IO_FUZZ_TARGET").ok();
    let seconds = std::env::var("ZERO_IO_FUZZ_SECONDS").ok();
    let seconds: u64 = seconds.map_or(1, |text| text.parse().expect("a number of seconds"));
    let mut inputs_total = 0u64;
    for target in TARGETS.iter().filter(|t| only.as_deref().is_none_or(|only| only == t.name)) {
        let seeds = seeds(target);
        seeds.iter().for_each(|seed| run_guarded(target, seed));
        let mut mutator = Mutator::new(0);
        let mut bytes = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let mut inputs = seeds.len() as u64;
        while Instant::now() < deadline {
            for _ in 0..BATCH {
                mutator.make(&seeds, &mut bytes);
                run_guarded(target, &bytes);
            }
            inputs += u64::from(BATCH);
        }
        println!("target {}: {inputs} inputs", target.name);
        inputs_total += inputs;
    }
    assert!(inputs_total > 0, "no target ran");
}
