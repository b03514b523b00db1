//! Prints the name of each target, for `cargo xtask fuzz`.

fn main() {
    for target in zero_io_fuzz::TARGETS {
        println!("target {}", target.name);
    }
}
