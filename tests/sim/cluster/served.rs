//! A connection that a shard serves: what is to be sent back, and how it goes to another shard.

use std::time::Duration;

use zero_io::{ConnId, IoError, Sender, StreamId};

use super::Cx;
use super::model::flow_of;

/// What a shard knows of a connection.
#[derive(Default)]
pub(super) struct Served {
    /// Where it speaks.
    pub(super) stream: Option<StreamId>,
    pub(super) head: Vec<u8>,
    pub(super) came: u64,
    /// What is to be sent back and found no room yet.
    pub(super) waits: Vec<u8>,
    pub(super) read_closed: bool,
    is_closing: bool,
    /// It is to go to another shard: the number of what goes with it.
    parcel: Option<u64>,
}

impl Served {
    /// One that begins here, or that another shard has handed over.
    pub(super) fn begin(conn: ConnId, life: usize, sender: &mut Sender<'_>, cx: &mut Cx) -> Self {
        // Also of one that ended before it was told of.
        let parcel = sender.user_data(conn).expect("its end was not told");
        if parcel == 0 {
            return Self::default();
        }
        let served = cx.parcels.remove(&parcel).expect("it is handed over once");
        cx.model.settles(served.flow(), life);
        served
    }

    /// The flow of one whose head came.
    fn flow(&self) -> u64 {
        flow_of(&self.head).expect("only those are handed over")
    }

    pub(super) const fn is_leaving(&self) -> bool {
        self.parcel.is_some()
    }

    pub(super) fn may_leave(&self) -> bool {
        !self.is_leaving() && !self.is_closing && flow_of(&self.head).is_some()
    }

    /// Has it go to another shard, with all that is known of it.
    pub(super) fn leave(
        &mut self,
        conn: ConnId,
        (life, to): (usize, u16),
        sender: &mut Sender<'_>,
        cx: &mut Cx,
    ) {
        cx.parcel_count += 1;
        let parcel = cx.parcel_count;
        if sender.set_user_data(conn, parcel).is_err() {
            return;
        }
        match sender.hand_over(conn, to) {
            Ok(()) => {
                cx.model.leaves(self.flow(), life, cx.life_of[usize::from(to)]);
                let all = std::mem::replace(self, Self { parcel: Some(parcel), ..Self::default() });
                cx.parcels.insert(parcel, all);
            }
            Err(
                IoError::NotMovable { .. } | IoError::ShardDown { .. } | IoError::StaleConn { .. },
            ) => {}
            Err(error) => panic!("hand_over: {error}"),
        }
    }

    /// It could not go.
    pub(super) fn stay(&mut self, life: usize, cx: &mut Cx) {
        let parcel = self.parcel.expect("it was to go");
        *self = cx.parcels.remove(&parcel).expect("it is not at another shard too");
        cx.model.settles(self.flow(), life);
    }

    /// Sends back what there is room for, and then ends what the client has ended.
    pub(super) fn go_on(&mut self, conn: ConnId, sender: &mut Sender<'_>) {
        if self.is_leaving() {
            return;
        }
        if let Some(stream) = self.stream.filter(|_| !self.waits.is_empty()) {
            match sender.stream_write(conn, stream, &self.waits) {
                Ok(count) => drop(self.waits.drain(..count)),
                Err(_) => self.waits.clear(),
            }
        }
        if self.read_closed && self.waits.is_empty() && !self.is_closing {
            self.is_closing = true;
            let _ = sender.close_graceful(conn, Duration::from_secs(5));
        }
    }
}
