//! Thousands of connections that do nothing, while one shard is restarted: those of the other one
//! hear nothing of it.
//!
//! `ZERO_IO_IDLE=10000 cargo test --release --test cluster -- idle --nocapture` prints the figure;
//! otherwise there are fewer, and the same holds.

#![expect(clippy::print_stdout, reason = "client processes talk to the test, which has a figure")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use zero_io::{ClusterReadiness, DrainOptions, Event, IoCluster, StreamId};

use crate::common::PATIENCE;
use crate::kit::{Running, config, serve};

/// Where a client process connects to; only there it does anything.
const SERVER: &str = "ZERO_IO_CLUSTER_IDLE_SERVER";
const COUNT: &str = "ZERO_IO_CLUSTER_IDLE_COUNT";
const TOTAL: &str = "ZERO_IO_IDLE";
const CLIENTS: usize = 2;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A connection, and the shard that greeted it.
fn greeted(addr: SocketAddr) -> (TcpStream, u8) {
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut shard = [0];
    client.read_exact(&mut shard).unwrap();
    (client, shard[0])
}

/// Sends a number, and waits until it is back.
fn ping(client: &mut TcpStream, number: u64) -> Duration {
    let start = Instant::now();
    client.write_all(&number.to_be_bytes()).unwrap();
    let mut answer = [0; 8];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(u64::from_be_bytes(answer), number);
    start.elapsed()
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
    format!("{} messages, p50 {} us, p99 {} us", times.len(), at(0.5), at(0.99))
}

/// The other process: holds its connections, and talks over those of shard 1 until it is told to
/// go on.
#[test]
fn a_client_process() {
    let Ok(server) = std::env::var(SERVER) else { return };
    let addr = server.parse().unwrap();
    let mut clients = (0..number(COUNT, 0)).map(|_| greeted(addr)).collect::<Vec<_>>();
    let (told, word) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().for_each(|line| told.send(line.unwrap()).unwrap());
    });
    println!("\nclient: connected");
    let mut next = 0;
    for phase in ["before", "during", "after"] {
        let mut times = Vec::new();
        // Once at least, however late it runs.
        loop {
            let stays = clients.iter_mut().filter(|(_, shard)| *shard == 1);
            for (client, _) in stays {
                times.push(ping(client, next));
                next += 1;
                std::thread::sleep(Duration::from_micros(900));
                if times.len() % 64 == 0 {
                    break;
                }
            }
            clients.rotate_left(97);
            if word.try_recv().is_ok() {
                break;
            }
        }
        println!("client: {phase}: {}", percentiles(times));
    }
    // Every one of them, whether it was talked to or not.
    let mut stayed = 0;
    for (client, _) in clients.iter_mut().filter(|(_, shard)| *shard == 1) {
        ping(client, next);
        next += 1;
        stayed += 1;
    }
    let mut went = clients.extract_if(.., |(_, shard)| *shard == 0).collect::<Vec<_>>();
    let is_over = |client: &mut TcpStream| client.read(&mut [0]).is_ok_and(|len| len == 0);
    assert!(went.iter_mut().all(|(client, _)| is_over(client)));
    let count = went.len();
    drop(went);
    let start = Instant::now();
    let back = (0..count).map(|_| greeted(addr)).collect::<Vec<_>>();
    let took = start.elapsed().as_millis();
    println!("client: {stayed} stayed, {} came back within {took} ms", back.len());
}

struct Client {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(addr: SocketAddr, count: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "idle::a_client_process", "--nocapture"])
            .envs([(SERVER, addr.to_string()), (COUNT, count.to_string())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"on\n").unwrap();
    }

    /// What it says next.
    fn word(&mut self) -> String {
        let mut line = String::new();
        while !line.starts_with("client: ") {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it failed");
        }
        line["client: ".len()..].trim_end().to_owned()
    }
}

#[test]
fn a_restart_is_not_noticed_next_door() {
    let total = number(TOTAL, 600);
    let config = config(2).with(|c| {
        c.io.max_connections = total.next_power_of_two();
        c.io.debug.audit_every_tick = false;
    });
    let mut cluster = IoCluster::new(config).unwrap();
    let endpoint = cluster.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let running = Running::start(cluster, |shard| {
        let me = shard.shard() as u8;
        serve(shard, |event, sender| match event {
            Event::Connected { conn, .. } => {
                sender.stream_write(conn, StreamId::ZERO, &[me]).unwrap();
            }
            Event::StreamFrame { conn, stream, data, .. } => {
                sender.stream_write(conn, stream, data).unwrap();
            }
            Event::ReadClosed { conn, .. } => sender.close(conn).unwrap(),
            _ => {}
        })
    });
    running.wait_for(None, ClusterReadiness::Ready);
    let mut clients = (0..CLIENTS).map(|_| Client::start(addr, total / CLIENTS));
    let mut clients: [Client; CLIENTS] = std::array::from_fn(|_| clients.next().unwrap());
    clients.iter_mut().for_each(|client| assert_eq!(client.word(), "connected"));
    std::thread::sleep(Duration::from_secs(1));
    clients.iter_mut().for_each(Client::go_on);
    let start = Instant::now();
    let deadline = Duration::from_millis(500);
    let drain = DrainOptions::default().with(|drain| drain.deadline = Some(deadline));
    running.handle.restart_shard(0, drain).unwrap();
    running.wait_for(Some(0), ClusterReadiness::Ready);
    let took = start.elapsed();
    clients.iter_mut().for_each(Client::go_on);
    std::thread::sleep(Duration::from_secs(1));
    clients.iter_mut().for_each(Client::go_on);
    println!("{total} connections; {} ms, {} of them until the deadline", took.as_millis(), 500);
    for client in &mut clients {
        for _ in 0..4 {
            println!("{}", client.word());
        }
        assert!(client.child.wait().unwrap().success());
    }
    running.handle.shutdown(DrainOptions::default()).unwrap();
    let report = running.end();
    assert!(report.is_clean() && report.shards[0].restarts == 1, "{report:?}");
}
