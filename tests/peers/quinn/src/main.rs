//! quinn as a server and as a client: see the crate `kit`.

mod client;
mod server;

use kit::Role;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match kit::role() {
        Role::Server { addr, cert, key, retry } => server::run(addr, &cert, &key, retry).await,
        Role::Client { addr, ca, cases } => {
            for case in cases {
                let ran = client::run(&case, addr, &ca);
                tokio::time::timeout(kit::PATIENCE, ran).await.expect("in time");
                kit::say(case);
            }
        }
    }
}
