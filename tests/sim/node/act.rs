//! What the application does of its own accord: writes, ends, resumes, and mischief.

use super::*;

impl State {
    /// Sends what waits, then what is produced.
    pub(super) fn flush(&mut self, id: ConnId, sender: &mut Sender<'_>, cx: &mut Shared) {
        for _ in 0..8 {
            let Some(conn) = self.conns.get_mut(&id) else { return };
            if !conn.takes_writes() || conn.blocked {
                return;
            }
            if conn.backlog.is_empty() {
                let len = 1 + cx.chance.next() % 4_000;
                let Some(source) = &mut conn.source else { return };
                conn.backlog.extend(source.produce(len));
            }
            if conn.backlog.is_empty() {
                return;
            }
            let count = 1 + cx.chance.below(conn.backlog.len().min(6_000));
            let piece: Vec<u8> = conn.backlog.range(..count).copied().collect();
            let taken = self.write(id, &piece, sender, cx);
            let Some(conn) = self.conns.get_mut(&id) else { return };
            let taken = taken.min(conn.backlog.len());
            conn.backlog.drain(..taken);
            if taken < piece.len() {
                return;
            }
        }
    }

    /// Writes one piece in one of many ways; how much was accepted.
    pub(super) fn write(
        &mut self,
        id: ConnId,
        piece: &[u8],
        sender: &mut Sender<'_>,
        cx: &mut Shared,
    ) -> usize {
        let way = cx.chance.below(6);
        let token = cx.token();
        let Some(conn) = self.conns.get_mut(&id) else { return 0 };
        let outcome = if conn.by_handle {
            self.handle.stream_write(id, STREAM, piece).map(|()| piece.len())
        } else {
            match way {
                0 => {
                    let (front, back) = piece.split_at(piece.len() / 2);
                    let parts = [front, &[], back].map(std::io::IoSlice::new);
                    sender.stream_writev(id, STREAM, &parts)
                }
                1 => sender.send_buffer(piece.len()).and_then(|mut buffer| {
                    buffer.as_mut_slice()[..piece.len()].copy_from_slice(piece);
                    buffer.set_len(piece.len());
                    sender.stream_write_buffer(id, STREAM, buffer).map(|()| piece.len())
                }),
                2 => {
                    let memory: Arc<[u8]> = Arc::from(piece);
                    let written = sender.stream_write_guard(id, STREAM, memory, token);
                    written.map(|()| {
                        conn.guards.insert(token);
                        piece.len()
                    })
                }
                _ => sender.stream_write(id, STREAM, piece),
            }
        };
        match outcome {
            Ok(count) => {
                conn.blocked = count < piece.len();
                sent(conn, count, cx);
                count
            }
            Err(error) if conn.by_handle && error.is_retryable() => 0,
            Err(error) if is_full(&error) => {
                conn.blocked = true;
                0
            }
            Err(IoError::PoolExhausted { .. } | IoError::BufferTooLarge { .. }) => 0,
            Err(error) => {
                gone(conn, error);
                0
            }
        }
    }

    /// What this connection wants next.
    pub(super) fn progress(&mut self, id: ConnId, sender: &mut Sender<'_>, cx: &mut Shared) {
        self.flush(id, sender, cx);
        self.maybe_resume(id, sender, cx);
        self.start_tls(id, sender, cx);
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.start != Start::Done {
            if conn.read_closed && !conn.aborted && !conn.closing {
                self.close_gracefully(id, sender, cx);
            }
            return;
        }
        if !conn.connected || conn.aborted || conn.closing || !conn.is_drained() {
            return;
        }
        let (want_fin, want_close) = match &conn.part {
            Part::Client { flow } => match flow % 3 {
                0 => (true, conn.read_closed),
                1 => (false, true),
                _ => (cx.is_liveness || cx.chance.once_in(20), conn.read_closed),
            },
            Part::Unknown { .. } => (false, conn.read_closed),
            Part::Server { flow } => {
                let early = cx.flows[*flow].answer == Answer::Stream && flow % 2 == 0;
                (early, conn.read_closed)
            }
            Part::Relay { other } => match other.and_then(|other| self.conns.get(&other)) {
                Some(other) => (other.read_closed, other.read_closed && conn.read_closed),
                None => (false, true),
            },
        };
        if want_close {
            self.close_gracefully(id, sender, cx);
        } else if want_fin && !conn.fin {
            self.shut_down(id, sender);
        }
    }

    pub(super) fn close_gracefully(
        &mut self,
        id: ConnId,
        sender: &mut Sender<'_>,
        cx: &mut Shared,
    ) {
        let within = Duration::from_millis(cx.chance.pick(&[0, 1, 200, 60_000]));
        let within = if cx.is_liveness { Duration::ZERO } else { within };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let asked = if conn.by_handle {
            self.handle.close_graceful(id, within)
        } else {
            sender.close_graceful(id, within)
        };
        let queue_full = asked.is_err_and(|error| error.is_retryable());
        conn.closing = !queue_full;
        conn.fin |= conn.closing;
    }

    pub(super) fn shut_down(&mut self, id: ConnId, sender: &mut Sender<'_>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let asked = if conn.by_handle {
            self.handle.shutdown_write(id, STREAM)
        } else {
            sender.shutdown_write(id, STREAM)
        };
        conn.fin = !asked.is_err_and(|error| error.is_retryable());
    }

    pub(super) fn maybe_resume(&mut self, id: ConnId, sender: &mut Sender<'_>, cx: &mut Shared) {
        let Some(conn) = self.conns.get(&id) else { return };
        let to = match conn.part {
            Part::Relay { other } => other,
            _ => Some(id),
        };
        let waiting = to.and_then(|to| self.conns.get(&to)).map_or(0, |conn| conn.backlog.len());
        let due = cx.is_liveness || cx.chance.once_in(10);
        if conn.paused && due && waiting < BACKLOG_HIGH / 4 {
            // Ended but not told yet: then there is nothing to resume.
            let _ = sender.resume_recv(id);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.paused = false;
            }
        }
    }

    /// Full tables and full pools of several nodes can wait for each other: then the application
    /// gives a connection up, as a write limit would.
    pub(super) fn shed(&mut self, is_scarce: bool, sender: &mut Sender<'_>, cx: &mut Shared) {
        let now_ns = cx.world.now_ns();
        if self.conns.len() < self.table_max && !is_scarce {
            self.full_since_ns = now_ns;
        }
        if now_ns - self.full_since_ns < FULL_LIMIT_NS {
            return;
        }
        self.full_since_ns = now_ns;
        let first = self.conns.iter_mut().find(|(_, conn)| !conn.aborted);
        if let Some((id, conn)) = first
            && sender.close(*id).is_ok()
        {
            conn.aborted = true;
            conn.fin = true;
        }
    }

    /// What only a safety phase may do.
    pub(super) fn mischief(&mut self, sender: &mut Sender<'_>, cx: &mut Shared) {
        if cx.chance.once_in(4) && self.conns.len() < 40 {
            self.connect(sender, cx);
        }
        if cx.chance.once_in(10) {
            let token = cx.token();
            if self.handle.post(token).is_ok() {
                self.posted.push_back(token);
            }
        }
        if cx.chance.once_in(6) && !self.held.is_empty() {
            let at = cx.chance.below(self.held.len());
            self.held.swap_remove(at).check();
        }
        if cx.chance.once_in(150) {
            self.close_a_listener(sender, cx);
        }
        let Some(id) = self.conns.keys().nth(cx.chance.below(self.conns.len())).copied() else {
            return;
        };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if cx.chance.once_in(30) && !conn.aborted {
            if cx.chance.once_in(3) {
                let _ = sender.reset_on_close(id);
            }
            let by_handle = cx.chance.once_in(4);
            let asked = if by_handle { self.handle.close(id) } else { sender.close(id) };
            match asked {
                // A handle's close happens later: events go on until then.
                Ok(()) if by_handle => {
                    conn.closing = true;
                    conn.closing_by_handle = true;
                }
                Ok(()) => conn.aborted = true,
                Err(IoError::StaleConn { .. } | IoError::QueueFull { .. }) => {}
                Err(error) => panic!("close: {error}"),
            }
            conn.fin |= conn.aborted || conn.closing;
        } else if cx.chance.once_in(20) && !conn.paused && sender.pause_recv(id).is_ok() {
            conn.paused = true;
        }
    }

    pub(super) fn close_a_listener(&mut self, sender: &mut Sender<'_>, cx: &mut Shared) {
        let open = self.places.iter_mut().find(|(_, listener)| listener.is_open);
        let Some((id, listener)) = open else { return };
        let id = *id;
        listener.is_open = false;
        let place = listener.place;
        sender.endpoint_close(id).expect("the listener is open");
        assert!(matches!(sender.endpoint_close(id), Err(IoError::StaleEndpoint { .. })));
        self.listen_tcp(place, sender, cx);
    }
}
