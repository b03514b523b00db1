//! New certificates while handshakes run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::{CertReloadHandle, TlsClientConfig, TlsServerConfig};
use super::world::{Authority, Dir, Issued, Pair, client, good};
use crate::error::TlsConfigFault as Fault;

const NAME: &str = "a.example";

/// A client that resumes nothing, and so is shown a certificate each time.
fn fresh(root: &Authority) -> TlsClientConfig {
    client(root).session_cache(0).build().unwrap()
}

fn swap(handle: &CertReloadHandle, issued: &Issued) {
    handle.reload_from_bytes(&issued.chain_pem, &issued.key_pem).unwrap();
}

#[test]
fn a_handshake_keeps_the_certificate_it_began_with() {
    let root = Authority::new("root");
    let (old, new) = (root.issue(&[NAME]), root.issue(&[NAME]));
    let config = TlsServerConfig::with_identity(old.identity()).build().unwrap();
    let client = fresh(&root);
    let mut begun = Pair::new(&client, &config, NAME);
    let not_begun = Pair::new(&client, &config, NAME);
    begun.client_speaks();
    swap(&config.reload_handle(), &new);
    let begun = begun.finish();
    assert!(begun.is_good());
    assert_eq!(begun.shown(), Some(old.leaf()));
    // What decides is the ClientHello, not when the connection was made.
    assert_eq!(not_begun.finish().shown(), Some(new.leaf()));
    // An earlier clone has the new one too.
    assert_eq!(good(&client, &config.clone(), NAME).shown(), Some(new.leaf()));
}

#[test]
fn by_file_and_by_any_identity() {
    let root = Authority::new("root");
    let issued: Vec<_> = (0..3).map(|_| root.issue(&[NAME])).collect();
    let dir = Dir::new();
    let config = TlsServerConfig::with_identity(issued[0].identity()).build().unwrap();
    let handle = config.reload_handle();
    let shown = || good(&fresh(&root), &config, NAME).shown().map(<[u8]>::to_vec);
    assert_eq!(shown().as_deref(), Some(issued[0].leaf()));
    let chain = dir.write("chain.pem", &issued[1].chain_pem);
    let key = dir.write("key.pem", &issued[1].key_pem);
    handle.reload_from_pem(chain, key).unwrap();
    assert_eq!(shown().as_deref(), Some(issued[1].leaf()));
    handle.reload(&issued[2].identity()).unwrap();
    assert_eq!(shown().as_deref(), Some(issued[2].leaf()));
}

#[test]
fn one_entry_of_the_table() {
    let root = Authority::new("root");
    let default = root.issue(&[NAME]);
    let (exact, wildcard) = (root.issue(&["x.w.example"]), root.issue(&["*.w.example"]));
    let config = TlsServerConfig::with_identity(default.identity())
        .server_name("x.w.example", exact.identity())
        .server_name("*.w.example", wildcard.identity())
        .build()
        .unwrap();
    let handle = config.reload_handle();
    let client = fresh(&root);
    let new = root.issue(&["*.w.example", "other.example"]);
    swap(&handle.for_name("*.W.example").unwrap(), &new);
    for (name, expected) in [("y.w.example", &new), ("x.w.example", &exact), (NAME, &default)] {
        assert_eq!(good(&client, &config, name).shown(), Some(expected.leaf()), "{name}");
    }
    // Not for that name: refused, and the old one stays.
    let named = handle.for_name("x.w.example").unwrap();
    let wrong = root.issue(&["z.w.example"]);
    let error = named.reload_from_bytes(&wrong.chain_pem, &wrong.key_pem).unwrap_err();
    assert_eq!(error.fault(), Fault::NameNotCovered);
    assert_eq!(good(&client, &config, "x.w.example").shown(), Some(exact.leaf()));
    for (name, fault) in [
        ("y.w.example", Fault::UnknownServerName),
        (NAME, Fault::UnknownServerName),
        ("x.w.example.", Fault::BadServerName),
    ] {
        assert_eq!(handle.for_name(name).unwrap_err().fault(), fault, "{name}");
    }
}

#[test]
fn under_load_from_another_thread() {
    const HANDSHAKES: usize = 300;
    let root = Authority::new("root");
    let issued: Vec<_> = (0..4).map(|_| root.issue(&[NAME])).collect();
    let config = TlsServerConfig::with_identity(issued[0].identity()).build().unwrap();
    let handle = config.reload_handle();
    let client = fresh(&root);
    let is_over = AtomicBool::new(false);
    let reloads = thread::scope(|scope| {
        let reloader = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                swap(&handle, &issued[count % issued.len()]);
                // A pair that does not match is refused between any two that do.
                let key = &issued[(count + 1) % issued.len()].key_pem;
                let chain = &issued[count % issued.len()].chain_pem;
                let error = handle.reload_from_bytes(chain, key).unwrap_err();
                assert_eq!(error.fault(), Fault::KeyMismatch);
                count += 1;
            }
            count
        });
        let mut seen = [0; 4];
        for _ in 0..HANDSHAKES {
            // A certificate with another's key would fail the handshake.
            let pair = good(&client, &config, NAME);
            let shown = pair.shown().unwrap();
            let which = issued.iter().position(|issued| issued.leaf() == shown).unwrap();
            seen[which] += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(seen.iter().filter(|&&count| count > 0).count() > 1, "{seen:?}");
        reloader.join().unwrap()
    });
    assert!(reloads > 1);
}

#[test]
fn handles_go_to_other_threads() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<CertReloadHandle>();
    check::<TlsServerConfig>();
    check::<TlsClientConfig>();
}
