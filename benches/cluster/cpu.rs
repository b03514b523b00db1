//! The processor time of this process's threads.

use std::fs::{read_dir, read_to_string};

/// Nanoseconds that threads with such a name have run so far.
pub(crate) fn of_threads(prefix: &str) -> u64 {
    let tasks = read_dir("/proc/self/task").expect("a list of threads");
    let paths = tasks.filter_map(|task| Some(task.ok()?.path()));
    let named = paths.filter(|path| {
        read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with(prefix))
    });
    let ran = named.filter_map(|path| {
        let stat = read_to_string(path.join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    ran.sum()
}
