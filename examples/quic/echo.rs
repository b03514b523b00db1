//! The echo that the examples of QUIC share: bidirectional streams as they come, each
//! unidirectional stream on a new one, and datagrams.

use std::collections::HashMap;

use zero_io::{ConnId, Event, Sender, StreamDir, StreamId};

/// What a client is told whose stream is not echoed.
const NO_ROOM: u64 = 1;

/// What was received and could not be sent on yet.
#[derive(Default)]
struct Rest {
    data: Vec<u8>,
    fin: bool,
}

/// Echoes of all connections whose events it is given.
#[derive(Default)]
pub(crate) struct Echo {
    rests: HashMap<(ConnId, StreamId), Rest>,
    /// The streams that answer unidirectional ones.
    answers: HashMap<(ConnId, StreamId), StreamId>,
}

impl Echo {
    pub(crate) fn on_event(&mut self, sender: &mut Sender<'_>, event: &Event<'_>) {
        match *event {
            Event::StreamFrame { conn, stream, data, .. } => {
                if let Some(answer) = self.answer_to(sender, conn, stream) {
                    self.write(sender, (conn, answer), data, false);
                }
            }
            // Its end, which may have come with the last bytes, alone, or without any.
            Event::ReadClosed { conn, stream } => {
                if let Some(answer) = self.answer_to(sender, conn, stream) {
                    self.write(sender, (conn, answer), &[], true);
                }
                self.answers.remove(&(conn, stream));
            }
            Event::Writable { conn, stream, .. } => {
                if let Some(rest) = self.rests.remove(&(conn, stream)) {
                    self.write(sender, (conn, stream), &rest.data, rest.fin);
                    self.resume(sender, conn);
                }
            }
            Event::Datagram { conn, data } => drop(sender.send_datagram(conn, data)),
            // What the client gives up is not echoed to its end, and what it does not want not at
            // all.
            Event::StreamReset { conn, stream, error_code } => {
                let answer = self.answers.remove(&(conn, stream)).unwrap_or(stream);
                self.drop_rest(sender, (conn, answer));
                let _ = sender.stream_reset(conn, answer, error_code);
            }
            Event::StopSending { conn, stream, error_code } => {
                self.drop_rest(sender, (conn, stream));
                if stream.dir() == StreamDir::Bidi {
                    let _ = sender.stop_sending(conn, stream, error_code);
                }
            }
            Event::Disconnected { conn, .. } => {
                self.rests.retain(|(of, _), _| *of != conn);
                self.answers.retain(|(of, _), _| *of != conn);
            }
            _ => {}
        }
    }

    /// The stream on which one is echoed.
    fn answer_to(
        &mut self,
        sender: &mut Sender<'_>,
        conn: ConnId,
        stream: StreamId,
    ) -> Option<StreamId> {
        if stream.dir() == StreamDir::Bidi {
            return Some(stream);
        }
        if let Some(answer) = self.answers.get(&(conn, stream)) {
            return Some(*answer);
        }
        let Ok(answer) = sender.stream_open(conn, StreamDir::Uni) else {
            let _ = sender.stop_sending(conn, stream, NO_ROOM);
            return None;
        };
        self.answers.insert((conn, stream), answer);
        Some(answer)
    }

    /// Sends on what can be sent. For the rest the client is held back until `Writable`.
    fn write(
        &mut self,
        sender: &mut Sender<'_>,
        (conn, stream): (ConnId, StreamId),
        data: &[u8],
        fin: bool,
    ) {
        if let Some(rest) = self.rests.get_mut(&(conn, stream)) {
            rest.data.extend_from_slice(data);
            rest.fin |= fin;
            return;
        }
        let Ok(sent) = sender.stream_write(conn, stream, data) else { return };
        if sent == data.len() {
            if fin {
                let _ = sender.stream_finish(conn, stream);
            }
        } else if let Some(rest) = data.get(sent..) {
            let _ = sender.pause_recv(conn);
            self.rests.insert((conn, stream), Rest { data: rest.to_vec(), fin });
        }
    }

    fn drop_rest(&mut self, sender: &mut Sender<'_>, at: (ConnId, StreamId)) {
        if self.rests.remove(&at).is_some() {
            self.resume(sender, at.0);
        }
    }

    /// Takes more from a client that has nothing left to be sent on.
    fn resume(&self, sender: &mut Sender<'_>, conn: ConnId) {
        if !self.rests.keys().any(|(of, _)| *of == conn) {
            let _ = sender.resume_recv(conn);
        }
    }
}
