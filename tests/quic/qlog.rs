//! Logs of connections, read back.

use std::io::Write;
use std::sync::{Arc, Mutex};

use zero_io::{IoError, Qlog, QlogStart, QuicConnectConfig, StreamDir};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, pattern};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All logs that were begun.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<(QlogStart, Log)>>>);

impl Logs {
    fn writer(&self) -> Qlog {
        let logs = Self::clone(self);
        Qlog::with_writer(move |start| {
            let log = Log::default();
            logs.0.lock().unwrap().push((start, log.clone()));
            Some(Box::new(log))
        })
    }

    fn all(&self) -> Vec<(QlogStart, Vec<u8>)> {
        let logs = self.0.lock().unwrap();
        logs.iter().map(|(start, log)| (*start, log.0.lock().unwrap().clone())).collect()
    }
}

/// The records of a JSON text sequence (RFC 7464): each between 0x1E and a line's end.
fn records(log: &[u8]) -> Vec<serde_json::Value> {
    assert_eq!(log.first(), Some(&0x1E));
    let texts = log.split(|byte| *byte == 0x1E).skip(1);
    let parsed = texts.map(|text| {
        assert_eq!(text.last(), Some(&b'\n'));
        serde_json::from_slice(text).expect("a record is JSON")
    });
    parsed.collect()
}

fn names(records: &[serde_json::Value]) -> Vec<String> {
    let named = records.iter().filter_map(|record| record["name"].as_str());
    named.map(ToOwned::to_owned).collect()
}

#[test]
fn each_connection_has_a_log_that_is_a_json_sequence() {
    for backend in BOTH {
        let (ours, theirs) = (Logs::default(), Logs::default());
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let log = theirs.writer();
        let addr = net.listen(|l| l.transport.qlog = Some(log));
        for _ in 0..2 {
            let log = ours.writer();
            let conn = net.dial(addr, |c| c.transport.qlog = Some(log));
            let (conn, _) = net.connected(conn);
            let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
            net.send_all(CLIENT, conn, stream, &pattern(50_000));
            net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        }
        net.all_home();
        drop(net);
        let (ours, theirs) = (ours.all(), theirs.all());
        assert_eq!((ours.len(), theirs.len()), (2, 2), "one each");
        assert!(ours.iter().all(|(start, _)| !start.is_server && start.peer == addr));
        assert_eq!((theirs[0].0.number, theirs[1].0.number), (0, 1));
        for (start, log) in ours.iter().chain(&theirs) {
            let records = records(log);
            assert!(records[0]["qlog_version"].is_string(), "{}", records[0]);
            let names = names(&records);
            for wanted in ["packet_sent", "packet_received", "metrics_updated"] {
                let has = names.iter().any(|name| name.ends_with(wanted));
                assert!(has, "{start:?}: no {wanted} in {names:?}");
            }
            // Packets of 50,000 bytes each way.
            assert!(names.len() > 60, "{}", names.len());
            let times: Vec<f64> = records.iter().filter_map(|r| r["time"].as_f64()).collect();
            assert!(times.is_sorted() && times[0] >= 0.0, "{:?}", &times[..4]);
        }
    }
}

#[test]
fn a_file_for_each_connection() {
    let dir = std::env::temp_dir().join(format!("zero-io-qlog-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut net = Net::new(Backend::Sim);
    let log = Qlog::to_dir(&dir);
    let own = log.clone();
    net.pair(|l| l.transport.qlog = Some(log), |c| c.transport.qlog = Some(own));
    net.all_home();
    drop(net);
    for name in ["client-0.sqlog", "server-1.sqlog"] {
        let text = std::fs::read(dir.join(name)).expect(name);
        assert!(records(&text).len() > 5);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_log_ends_at_its_bound_and_the_connection_does_not() {
    let logs = Logs::default();
    let mut net = Net::new(Backend::Sim);
    net.nodes[SERVER].echoes = true;
    let log = logs.writer().bytes_max(10_000);
    let (conn, _) = net.pair(|_| (), |c| c.transport.qlog = Some(log));
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
    net.send_all(CLIENT, conn, stream, &pattern(500_000));
    net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
    net.all_home();
    let len = logs.all()[0].1.len();
    assert!((5_000..=10_000).contains(&len), "{len}");
}

#[test]
fn connections_beyond_so_many_logs_have_none() {
    let dir = std::env::temp_dir().join(format!("zero-io-qlogs-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut net = Net::new(Backend::Sim);
    net.nodes[SERVER].echoes = true;
    let log = Qlog::to_dir(&dir).logs_max(3);
    let theirs = log.clone();
    let addr = net.listen(|l| l.transport.qlog = Some(theirs));
    for _ in 0..7 {
        let conn = net.dial(addr, |_| ());
        let (conn, _) = net.connected(conn);
        let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
        net.send_all(CLIENT, conn, stream, b"as good as any");
        net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 3);
    assert_eq!(log.left_out(), 4);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_build_without_the_feature_says_so() {
    if cfg!(feature = "quic-qlog") {
        return;
    }
    let mut net = Net::new(Backend::Sim);
    let config = QuicConnectConfig::new(("localhost", 1), net.client_tls(&[]));
    let config = config.with(|c| c.transport.qlog = Some(Qlog::to_dir(".")));
    let error = net.nodes[CLIENT].io.quic_connect_with(config).unwrap_err();
    assert!(
        matches!(error, IoError::InvalidArgument { what: "QuicTransport::qlog", .. }),
        "{error}"
    );
}
