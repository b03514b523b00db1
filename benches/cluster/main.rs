//! What shards of a cluster cost and gain: `cargo bench --features http,http-gzip --bench cluster
//! -- posts`, and `-- scale tcp|http|gzip|quic [ROUNDS]`. Each thread is put on a processor: what
//! is printed says where.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod cpu;
mod posts;
mod quic;
mod scale;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] | ["posts"] => posts::run(),
        ["scale", load] => scale::run(load, 9),
        ["scale", load, rounds] => scale::run(load, rounds.parse().expect("a number")),
        _ => panic!("posts | scale tcp|http|gzip|quic [ROUNDS]"),
    }
}

/// The value below which so many percent lie.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// What lies in the middle, and the half around it.
struct Quartiles([f64; 3]);

impl Quartiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        Self([1, 2, 3].map(|quarter| values[(last * quarter + 2) / 4]))
    }
}

impl std::fmt::Display for Quartiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [low, middle, high] = self.0;
        write!(f, "{middle:.2} ({low:.2} to {high:.2})")
    }
}
