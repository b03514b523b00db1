//! What all HTTP servers answer, so that they do the same work: `/` 13 bytes of text, `/json` a [`Page`] of 1 KiB that is
//! serialised for each request, `/body` 1 MiB from memory, `/files/64k` a file of `run/www`.
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub const HELLO: &str = "Hello, World!";
/// Bytes of a page as JSON.
pub const JSON_LEN: usize = 1024;
pub const BODY_LEN: usize = 1 << 20;
pub const FILE_ROUTE: &str = "/files/64k";
/// Threads of servers that read files on others than the worker: all have one core, where more only take turns.
pub const FILE_THREADS: usize = 4;
pub static BODY: [u8; BODY_LEN] = [b'x'; BODY_LEN];

/// The same bytes as text, for servers that want that.
pub fn body_text() -> &'static str {
    std::str::from_utf8(&BODY).expect("ASCII")
}

/// A file of `$PEER_WWW`, by default of `run/www` under the current directory.
pub fn www(name: &str) -> PathBuf {
    let dir = std::env::var_os("PEER_WWW").unwrap_or_else(|| "run/www".into());
    PathBuf::from(dir).join(name)
}

/// The file of [`FILE_ROUTE`].
pub fn file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| www("64k"))
}

#[derive(Clone, Serialize)]
pub struct Item {
    id: u32,
    name: &'static str,
    price: f64,
    in_stock: bool,
    tags: [&'static str; 2],
}

/// Numbers, strings, a list of structures: what services answer.
#[derive(Clone, Serialize)]
pub struct Page {
    id: u64,
    title: &'static str,
    items: Vec<Item>,
    note: &'static str,
    count: usize,
}

impl Page {
    /// Of [`JSON_LEN`] bytes.
    pub fn new() -> Self {
        let item = |i: u32| Item {
            id: 100_001 + 17 * i,
            name: "hexagon bolt M4 x 20",
            price: 12.25 + f64::from(i),
            in_stock: i % 2 == 0,
            tags: ["steel", "metric"],
        };
        let items: Vec<_> = (0..9).map(item).collect();
        let count = items.len();
        Self { id: 4_294_967_296, title: "parts, first page", items, note: NOTE, count }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

const NOTE: &str = "prices in euros, without tax, for 100 pieces.";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_of_its_length() {
        assert_eq!(serde_json::to_vec(&super::Page::new()).expect("JSON").len(), super::JSON_LEN);
    }
}
