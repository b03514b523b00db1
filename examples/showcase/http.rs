//! The HTTP endpoint: a page with the live figures, and what it is made from.

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Instant;

use zero_io::{Event, HttpMethod, Io, Sender, ZeroResponse};

use super::figures;
use super::host::Host;
pub(super) use super::place::Place;

const PAGE: &[u8] = include_bytes!("page.html");

pub(super) struct Web {
    place: Place,
    started: Instant,
    /// The figures as JSON, as of the last status.
    figures: String,
}

impl Web {
    /// Listens, and says how to try it.
    pub(super) fn listen(host: &mut Host) -> Result<Place, Box<dyn Error>> {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let (place, addr) = match host {
            Host::Alone(io) => {
                let endpoint = io.http_listen(at(7080)).or_else(|_| io.http_listen(at(0)))?;
                (Place::Alone(endpoint), io.local_addr(endpoint)?)
            }
            Host::Cluster(cluster) => {
                let endpoint = cluster.http_listen(at(7080));
                let endpoint = endpoint.or_else(|_| cluster.http_listen(at(0)))?;
                (Place::Cluster(endpoint), cluster.local_addr(endpoint)?)
            }
        };
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
        let ms = self.started.elapsed().as_millis();
        self.figures.clear();
        // Text has room for all that is written to it.
        let _ = figures::write(&mut self.figures, io, &http, (ms, connections, messages));
    }
}
