//! Programs as peers: started, talked to over pipes, and ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::common::{PATIENCE, Shard, TICK};

/// A running program. Killed when dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    out: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// # Panics
    /// When it is not installed.
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        Self::start_in(".", name, args)
    }

    /// The same in a directory.
    pub(crate) fn start_in(dir: &str, name: &str, args: &[&str]) -> Self {
        let piped = Command::new(name)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = piped
            .unwrap_or_else(|e| panic!("{name} does not start: {e}; run `cargo xtask setup test`"));
        let out = Arc::new(Mutex::new(Vec::new()));
        let stdin = child.stdin.take();
        let readers = vec![
            gather(child.stdout.take().unwrap(), Arc::clone(&out)),
            gather(child.stderr.take().unwrap(), Arc::clone(&out)),
        ];
        Self { name: name.to_owned(), child, stdin, out, readers }
    }

    /// All that it wrote so far, to both of its outputs.
    pub(crate) fn output(&self) -> Vec<u8> {
        self.out.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output()).into_owned()
    }

    /// Writes to its input, which must have room.
    pub(crate) fn say(&mut self, data: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(data.as_ref()).and_then(|()| stdin.flush()).expect("it reads its input");
    }

    /// Writes to its input from a thread, and leaves it open or closes it.
    pub(crate) fn feed(&mut self, data: Vec<u8>, closes: bool) -> JoinHandle<Option<ChildStdin>> {
        let mut stdin = self.stdin.take().expect("its input is open");
        std::thread::spawn(move || {
            // A program that ends first is its test's to notice.
            let _ = stdin.write_all(&data);
            (!closes).then_some(stdin)
        })
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits without a shard for something in its output.
    #[track_caller]
    pub(crate) fn expect(&self, what: &str) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if text.contains(what) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: no {what:?} in {text}", self.name);
            std::thread::sleep(TICK);
        }
    }

    /// The same while a shard runs.
    #[track_caller]
    pub(crate) fn expect_with(&self, shard: &mut Shard, what: &str) {
        let begun = Instant::now();
        while !self.text().contains(what) {
            assert!(begun.elapsed() < PATIENCE, "{}: no {what:?} in {}", self.name, self.text());
            shard.step(TICK);
        }
    }

    /// Polls the shard until the program has ended: its status, and all that it wrote.
    #[track_caller]
    pub(crate) fn end_with(mut self, shard: &mut Shard) -> (ExitStatus, Vec<u8>) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not end: {}", self.name, self.text());
            shard.step(TICK);
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        (status, self.output())
    }

    /// The same for one that must end well.
    #[track_caller]
    pub(crate) fn good_with(self, shard: &mut Shard) -> Vec<u8> {
        let name = self.name.clone();
        let (status, out) = self.end_with(shard);
        assert!(status.success(), "{name}: {status}: {}", String::from_utf8_lossy(&out));
        out
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gather(from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            let data = match from.fill_buf() {
                Ok(data) if !data.is_empty() => data,
                _ => return,
            };
            into.lock().unwrap().extend_from_slice(data);
            let len = data.len();
            from.consume(len);
        }
    })
}

/// A port that nobody has now, for programs that do not tell which one they got.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
