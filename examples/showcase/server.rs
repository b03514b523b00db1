//! What a shard does with its events: most things are sent back.

use std::error::Error;
use std::time::Duration;

use zero_io::{Event, Io};

use super::answers::answer;
use super::http::{Place, Web};
use super::quic::Quic;
use super::status::Status;

pub(super) const STATUS_EVERY: Duration = Duration::from_millis(500);

/// What one shard keeps.
pub(super) struct Server {
    shard: u16,
    quic: Quic,
    web: Web,
    status: Status,
    /// How often it told its status.
    pub(super) statuses: u64,
}

impl Server {
    pub(super) fn new(web: Place, shard: u16) -> Self {
        let (quic, web) = (Quic::default(), Web::new(web));
        Self { shard, quic, web, status: Status::default(), statuses: 0 }
    }

    /// Polls, and answers. The first shard prints what all of them did; the others tell it.
    pub(super) fn tick(&mut self, io: &mut Io) -> Result<(), Box<dyn Error>> {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        let mut status_due = false;
        while let Some(event) = events.next_event() {
            self.status.note(&event);
            self.web.answer(&mut sender, &event);
            if self.quic.on_event(&mut sender, &event) {
                continue;
            }
            match event {
                Event::User { token, data } => self.status.hear(token, data),
                Event::Timer { .. } => status_due = true,
                // Whoever is gone by now misses nothing.
                event => drop(answer(&mut sender, event)),
            }
        }
        if status_due {
            self.tell(io)?;
            io.timer_set(STATUS_EVERY, 0)?;
        }
        Ok(())
    }

    fn tell(&mut self, io: &mut Io) -> Result<(), Box<dyn Error>> {
        if self.shard == 0 {
            self.status.print(io)?;
        } else {
            let report = self.status.report(io);
            // When the first one has gone, nobody has to be told.
            let _ = io.post_data_to(0, self.shard.into(), &report);
        }
        self.status.tell(io, &mut self.web);
        self.statuses += 1;
        Ok(())
    }
}
