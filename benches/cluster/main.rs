//! What shards of a cluster cost and gain: `cargo bench --features http,http-gzip --bench cluster
//! -- posts`, and `-- scale tcp|http|gzip [ROUNDS]`. Each thread is put on a processor: what is
//! printed says where.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod cpu;
mod posts;
mod scale;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] | ["posts"] => posts::run(),
        ["scale", load] => scale::run(load, 9),
        ["scale", load, rounds] => scale::run(load, rounds.parse().expect("a number")),
        _ => panic!("posts | scale tcp|http|gzip [ROUNDS]"),
    }
}

/// The value below which so many percent lie.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
