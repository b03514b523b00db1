#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! A small curl: asks for a URL, and prints status, head and body; or asks often, and measures.
//!
//! `cargo run --release --features http-client,tls --example http_client -- URL [options]`
//!
//! `--method NAME`, `--data TEXT`, `--header 'name: value'` (several), `--location` (redirects are
//! followed), `--proxy URL`, `--ca FILE` (PEM of roots), `--insecure` (any certificate is
//! believed); `--repeat N` and `--concurrency M` (default 1): the rate and the latencies instead.

use std::time::{Duration, Instant};

use zero_io::{Config, Event, HttpMethod, HttpPool, HttpPoolConfig, HttpProxy, Io, RequestId};
use zero_io::{Roots, TlsClientConfig, ZeroRequest};

type Error = Box<dyn std::error::Error>;

struct Options {
    url: String,
    method: HttpMethod,
    data: Option<String>,
    headers: Vec<(String, String)>,
    repeat: usize,
    concurrency: usize,
}

impl Options {
    fn request(&self) -> ZeroRequest<'_> {
        let mut request = ZeroRequest::method(self.method, &self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match &self.data {
            Some(data) => request.text(data),
            None => request,
        }
    }
}

fn main() -> Result<(), Error> {
    let (options, config) = parse(std::env::args().skip(1))?;
    let mut io = Io::new(Config::default())?;
    let pool = io.http_pool(config)?;
    match options.repeat {
        0 => show(&mut io, pool, &options),
        _ => measure(&mut io, pool, &options),
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<(Options, HttpPoolConfig), Error> {
    let mut options = Options {
        url: String::new(),
        method: HttpMethod::Get,
        data: None,
        headers: Vec::new(),
        repeat: 0,
        concurrency: 1,
    };
    let mut method = None;
    let mut config = HttpPoolConfig::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg}: a value is missing"));
        match arg.as_str() {
            "--method" => method = Some(method_of(&value()?)?),
            "--data" => options.data = Some(value()?),
            "--header" => {
                let field = value()?;
                let (name, value) = field.split_once(':').ok_or("--header: name: value")?;
                options.headers.push((name.trim().into(), value.trim().into()));
            }
            "--location" => config.redirects = 10,
            "--proxy" => config.proxy = Some(HttpProxy::new(&value()?)?),
            "--ca" => config.tls = Some(tls(Roots::from_pem_file(value()?))?),
            "--insecure" => {
                let any = TlsClientConfig::with_roots(Roots::from_der([])).danger();
                config.tls = Some(any.accept_any_certificate().alpn(["http/1.1"]).build()?);
            }
            "--repeat" => options.repeat = value()?.parse()?,
            "--concurrency" => options.concurrency = value()?.parse()?,
            _ if arg.starts_with('-') => return Err(format!("{arg}: not known").into()),
            _ => options.url = arg,
        }
    }
    let default = if options.data.is_some() { HttpMethod::Post } else { HttpMethod::Get };
    options.method = method.unwrap_or(default);
    config.max_connections_per_host = options.concurrency.clamp(1, 4096);
    config.max_idle_per_host = config.max_connections_per_host;
    Ok((options, config))
}

fn tls(roots: Roots) -> Result<TlsClientConfig, Error> {
    Ok(TlsClientConfig::with_roots(roots).alpn(["http/1.1"]).build()?)
}

fn method_of(name: &str) -> Result<HttpMethod, Error> {
    use HttpMethod::{Delete, Get, Head, Options, Patch, Post, Put, Trace};
    let all = [Get, Head, Post, Put, Delete, Patch, Options, Trace];
    let found = all.into_iter().find(|method| method.as_str() == Some(name));
    Ok(found.ok_or_else(|| format!("{name}: no method"))?)
}

/// Prints what comes of one request.
fn show(io: &mut Io, pool: HttpPool, options: &Options) -> Result<(), Error> {
    use std::io::Write;
    let asked = io.http_request(pool, options.request())?;
    let mut out = std::io::stdout().lock();
    loop {
        io.poll(Duration::from_secs(1))?;
        while let Some(event) = io.next_event() {
            match event {
                Event::HttpResponse { id, response, .. } if id == asked => {
                    let version = response.version_minor();
                    let (status, reason) = (response.status(), response.reason());
                    writeln!(out, "HTTP/1.{version} {status} {reason}")?;
                    for (name, value) in response.headers().iter() {
                        writeln!(out, "{name}: {}", String::from_utf8_lossy(value))?;
                    }
                    writeln!(out)?;
                    out.write_all(response.body())?;
                    if !response.body_follows() {
                        return Ok(());
                    }
                }
                Event::HttpBodyChunk { id, data, last, .. } if id == asked => {
                    out.write_all(data)?;
                    if last {
                        return Ok(());
                    }
                }
                Event::HttpFailed { id, failure } if id == asked => {
                    let sent = if failure.was_sent { "was sent" } else { "was not sent" };
                    return Err(format!("{failure} ({:?}; it {sent})", failure.phase).into());
                }
                _ => {}
            }
        }
    }
}

/// Asks as often as told, so many at a time, and prints the rate and the latencies.
fn measure(io: &mut Io, pool: HttpPool, options: &Options) -> Result<(), Error> {
    let mut under_way: Vec<(RequestId, Instant)> = Vec::new();
    let mut latencies = Vec::with_capacity(options.repeat);
    let (mut asked, mut failed, mut bytes) = (0, 0, 0);
    let start = Instant::now();
    while latencies.len() + failed < options.repeat {
        while under_way.len() < options.concurrency.max(1) && asked < options.repeat {
            under_way.push((io.http_request(pool, options.request())?, Instant::now()));
            asked += 1;
        }
        io.poll(Duration::from_millis(100))?;
        while let Some(event) = io.next_event() {
            let (over, is_good) = match event {
                Event::HttpResponse { id, response, .. } => {
                    bytes += response.body().len();
                    (Some(id).filter(|_| !response.body_follows()), true)
                }
                Event::HttpBodyChunk { id, data, last, .. } => {
                    bytes += data.len();
                    (Some(id).filter(|_| last), true)
                }
                Event::HttpFailed { id, .. } => (Some(id), false),
                _ => (None, true),
            };
            let Some(at) = under_way.iter().position(|(id, _)| Some(*id) == over) else { continue };
            let (_, since) = under_way.swap_remove(at);
            if is_good {
                latencies.push(since.elapsed());
            } else {
                failed += 1;
            }
        }
    }
    let secs = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |part: f64| {
        let i = (latencies.len() as f64 * part) as usize;
        latencies.get(i.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    let good = latencies.len();
    println!("{good} responses, {failed} failures, {bytes} bytes of bodies in {secs:.3} s");
    println!("{:.0} requests/s", good as f64 / secs);
    println!("latency p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0));
    let stats = io.http_pool_stats(pool)?;
    println!("{} connections, {} requests on ones used before", stats.connects, stats.reuses);
    Ok(())
}
