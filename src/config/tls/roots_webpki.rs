//! Mozilla's roots, compiled in.

use super::roots::Roots;

impl Roots {
    /// The roots of Mozilla's programme, as the crate `webpki-roots` has them: the same everywhere,
    /// and as old as the build. Feature `tls-webpki-roots`.
    #[must_use]
    pub fn webpki() -> Self {
        Self::of("webpki".to_owned(), |store| {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            Ok(())
        })
    }
}
