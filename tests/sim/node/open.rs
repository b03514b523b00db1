//! Listening and connecting.

use super::*;

impl State {
    pub(super) fn listen_tcp(&mut self, place: Place, sender: &mut Sender<'_>, cx: &mut Shared) {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config = TcpListenConfig::new(any).with(|c| {
            c.framing = place.framed.then(framing);
            c.backlog = cx.chance.pick(&[0, 2, 128]);
            c.timeouts = timeouts(&mut cx.chance);
        });
        let listening = match (place.speech, &cx.secure) {
            (Speech::Tls, Some(secure)) => secure.listen(sender, config),
            _ => sender.tcp_listen_with(config),
        };
        let Ok(id) = listening else { return };
        let Ok(addr) = sender.local_addr(id) else { return };
        let addr = addr.inet().expect("a TCP listener has an address");
        if place.speech == Speech::Tls && cx.noise_ppm > 0 && !cx.is_liveness {
            cx.world.corrupt(addr.port(), cx.noise_ppm);
        }
        self.places.insert(id, Listener { place, is_open: true });
        cx.targets.push(Target::Tcp { addr, place });
    }

    pub(super) fn listen_unix(&mut self, sender: &mut Sender<'_>, cx: &mut Shared) {
        let path = format!("@node-{}", self.index);
        let Ok(id) = sender.uds_listen_with(UdsListenConfig::new(&path)) else { return };
        self.places.insert(id, Listener { place: PLAIN, is_open: true });
        cx.targets.push(Target::Unix { path });
    }

    /// Starts a conversation with someone.
    pub(super) fn connect(&mut self, sender: &mut Sender<'_>, cx: &mut Shared) {
        if cx.targets.is_empty() {
            return;
        }
        let target = cx.targets[cx.chance.below(cx.targets.len())].clone();
        let Place { framed, relay: relayed, speech } = match target {
            Target::Tcp { place, .. } => place,
            Target::Unix { .. } => PLAIN,
        };
        let Ok(id) = self.dial(&target, sender, cx) else { return };
        let flow = cx.flows.len();
        let longest = if framed { 40 } else { cx.chance.pick(&[1, 100, 5_000, 60_000]) };
        let answer = cx.chance.pick(&[Answer::Echo, Answer::Stream]);
        let head = if framed { 1 } else { HEAD_LEN as u64 };
        let goal = [head + cx.chance.next() % longest, cx.chance.next() % longest];
        let mut conn = Conn::new(Part::Client { flow }, framed);
        conn.start = if speech == Speech::StartTls { Start::Ask } else { Start::Done };
        let fits = goal[0] < 2_000 || speech != Speech::Plain;
        conn.by_handle = self.has_reserve && !framed && fits && cx.chance.once_in(4);
        conn.source = Some(Source::new(flow as u64, 0, framed, goal[0]));
        let dir = if answer == Answer::Echo { 0 } else { 1 };
        conn.check = Some(Check::new(flow as u64, dir, framed));
        cx.flows.push(Flow {
            key: flow as u64,
            answer,
            goal,
            sent: [0; 2],
            got: [0; 2],
            ended: [None; 2],
            relayed,
            speech,
        });
        self.insert(id, conn);
    }

    pub(super) fn dial(
        &mut self,
        target: &Target,
        sender: &mut Sender<'_>,
        cx: &mut Shared,
    ) -> zero_io::Result<ConnId> {
        let limit = Duration::from_millis(cx.chance.pick(&[5, 500, 10_000]));
        match target {
            Target::Tcp { addr, place } => {
                let dead = cx.chance.once_in(20);
                let addr = if dead { SocketAddr::new(addr.ip(), 9) } else { *addr };
                let config = TcpConnectConfig::new(HostOrAddr::Addr(addr)).with(|c| {
                    c.connect_timeout = limit;
                    c.framing = place.framed.then(framing);
                    c.timeouts = timeouts(&mut cx.chance);
                });
                match (place.speech, &cx.secure) {
                    (Speech::Tls, Some(secure)) => secure.connect(sender, config),
                    _ => sender.tcp_connect_with(config),
                }
            }
            Target::Unix { path } => {
                let config = UdsConnectConfig::new(path).with(|c| c.connect_timeout = limit);
                sender.uds_connect_with(config)
            }
        }
    }

    pub(super) fn insert(&mut self, id: ConnId, conn: Conn) {
        assert!(!self.ended.contains(&id), "{id} was used before");
        assert!(self.conns.insert(id, conn).is_none(), "{id} is in use");
    }
}
