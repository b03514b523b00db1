//! ringline TCP echo, one worker.
//!
//! Usage: `echo-ringline PORT [NBUFS=1024] [BUFSZ=4096]`
use ringline::{AsyncEventHandler, ConfigBuilder, ConnCtx, ParseResult, RinglineBuilder};
peerkit::counting!();

struct Echo;
impl AsyncEventHandler for Echo {
    fn on_accept(&self, conn: ConnCtx) -> impl std::future::Future<Output = ()> + 'static {
        async move {
            loop {
                let n = conn
                    .with_data(|data| {
                        if let Err(e) = conn.send_nowait(data) {
                            eprintln!("send: {e}");
                        }
                        ParseResult::Consumed(data.len())
                    })
                    .await;
                if n == 0 {
                    break;
                }
            }
        }
    }
    fn create_for_worker(_: usize) -> Self {
        Echo
    }
}

fn main() {
    peerkit::init();
    peerkit::backend!("io_uring");
    let nb: u16 = peerkit::arg(2, "1024").parse().unwrap();
    let bs: u32 = peerkit::arg(3, "4096").parse().unwrap();
    let config = ConfigBuilder::new()
        .workers(1)
        .pin_to_core(false)
        .max_connections(16384)
        .sq_entries(4096)
        .recv_buffer(nb, bs)
        .send_pool(2048, 16384)
        .tcp_nodelay(true)
        .build()
        .expect("config");
    let (_s, handles) = RinglineBuilder::new(config)
        .bind(format!("127.0.0.1:{}", peerkit::port()).parse().unwrap())
        .launch::<Echo>()
        .expect("launch");
    for h in handles {
        if let Err(e) = h.join().unwrap() {
            eprintln!("worker: {e:?}");
        }
    }
}
