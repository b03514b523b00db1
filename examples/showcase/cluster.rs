//! The showcase on several shards.

use std::error::Error;
use std::sync::mpsc::channel;
use std::time::Duration;

use zero_io::{DrainOptions, IoCluster};

use super::http::Place;
use super::is_unread;
use super::server::{STATUS_EVERY, Server};

/// Runs until the first shard has told its status so often, or cannot tell it.
pub(super) fn serve(
    mut cluster: IoCluster,
    web: Place,
    statuses: u64,
) -> Result<(), Box<dyn Error>> {
    cluster.stop_on_signals()?;
    let handle = cluster.handle();
    let (failed, failures) = channel();
    let report = cluster.run(|shard| {
        let me = shard.shard();
        let mut server = Server::new(web.on(shard)?, me);
        shard.timer_set(STATUS_EVERY, 0)?;
        let mut is_over = false;
        while shard.is_running() {
            let ticked = server.tick(shard).map_err(|error| {
                if !is_unread(&*error) {
                    let _ = failed.send(error.to_string());
                }
            });
            let has_told = me == 0 && server.statuses >= statuses;
            if !is_over && (ticked.is_err() || has_told) {
                is_over = true;
                // It ends as soon as it may.
                handle.shutdown(DrainOptions::default())?;
            }
            if ticked.is_err() {
                shard.poll(Duration::from_millis(10))?;
            }
        }
        Ok(())
    })?;
    match failures.try_recv() {
        Ok(failure) => Err(failure.into()),
        Err(_) if report.is_clean() => Ok(()),
        Err(_) => Err(format!("{report:?}").into()),
    }
}
