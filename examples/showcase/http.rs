//! The HTTP endpoint: a page with the live figures, and what it is made from.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::time::Instant;

use zero_io::{
    ClusterEndpoint, EndpointId, Event, HttpMethod, Io, PressureState, Sender, ShardIo,
    ZeroResponse,
};

use super::host::{Host, on};

/// In the order of `PoolStats::pools`.
const POOLS: [&str; 7] = [
    "slots",
    "stream buffers",
    "events",
    "send queue entries",
    "completions",
    "jumbo buffers",
    "connections",
];
const PAGE: &[u8] = include_bytes!("page.html");

pub(super) struct Web {
    place: Place,
    started: Instant,
    /// The figures as JSON, as of the last status.
    figures: String,
}

/// The endpoint, of a shard that is alone or of a cluster.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Alone(EndpointId),
    Cluster(ClusterEndpoint),
}

impl From<EndpointId> for Place {
    fn from(endpoint: EndpointId) -> Self {
        Self::Alone(endpoint)
    }
}

impl From<ClusterEndpoint> for Place {
    fn from(endpoint: ClusterEndpoint) -> Self {
        Self::Cluster(endpoint)
    }
}

impl Place {
    /// That of one shard of a cluster.
    pub(super) fn on(self, shard: &mut ShardIo) -> zero_io::Result<Self> {
        match self {
            Self::Cluster(endpoint) => shard.endpoint(endpoint).map(Self::Alone),
            Self::Alone(_) => Ok(self),
        }
    }
}

impl Web {
    /// Listens, and says how to try it.
    pub(super) fn listen(host: &mut Host) -> Result<Place, Box<dyn Error>> {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let (place, addr) = on!(host, io => {
            let endpoint = io.http_listen(at(7080)).or_else(|_| io.http_listen(at(0)))?;
            (Place::from(endpoint), io.local_addr(endpoint)?)
        });
        writeln!(
            stdout(),
            "HTTP, live figures     curl http://{addr}/status  or a browser: http://{addr}/"
        )?;
        Ok(place)
    }

    /// The page of one shard.
    pub(super) fn new(place: Place) -> Self {
        Self { place, started: Instant::now(), figures: "{}".to_owned() }
    }

    pub(super) fn answer(&self, sender: &mut Sender<'_>, event: &Event<'_>) {
        let Event::HttpRequest { conn, id, request } = event else { return };
        let answer = match (request.method(), request.path()) {
            (HttpMethod::Get | HttpMethod::Head, "/") => {
                ZeroResponse::ok().content_type("text/html; charset=utf-8").static_bytes(PAGE)
            }
            (HttpMethod::Get | HttpMethod::Head, "/status") => {
                let fresh = ZeroResponse::ok().header("cache-control", "no-store");
                fresh.content_type("application/json").bytes(self.figures.as_bytes())
            }
            (_, "/" | "/status") => ZeroResponse::method_not_allowed("GET, HEAD"),
            _ => ZeroResponse::not_found().text("nothing here\n"),
        };
        // A client that is gone by now misses nothing.
        let _ = sender.http_respond(*conn, *id, answer);
    }

    /// Takes the figures down.
    pub(super) fn note(&mut self, io: &mut Io, connections: u64, messages: u64) {
        let Place::Alone(endpoint) = self.place else { return };
        let Ok(http) = io.split().1.http_counters(endpoint) else { return };
        let (stats, pools) = (io.io_stats(), io.pool_stats());
        let pressure = io.pool_pressure().map_or(PressureState::Healthy, |info| info.state);
        let text = &mut self.figures;
        text.clear();
        let _ = write!(
            text,
            "{{\"ms\":{},\"connections\":{connections},\"requests\":{},\"messages\":{messages},\
             \"received\":{},\"sent\":{},\"enters\":{},\"pressure\":\"{pressure:?}\",\
             \"latency\":{:?},\"pools\":[",
            self.started.elapsed().as_millis(),
            http.requests,
            stats.bytes_received,
            stats.bytes_sent,
            stats.enters,
            http.latency_us_log2,
        );
        for (i, (name, pool)) in POOLS.iter().zip(&pools.pools).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let (used, capacity) = (pool.used, pool.capacity);
            let _ = write!(
                text,
                "{comma}{{\"name\":\"{name}\",\"used\":{used},\"capacity\":{capacity}}}"
            );
        }
        text.push_str("]}");
    }
}
