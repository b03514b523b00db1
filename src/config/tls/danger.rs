//! What weakens the check of a server's certificate, under a name that a review finds.

use super::client::TlsClientBuilder;

/// What is let pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Excuses {
    pub(super) any_certificate: bool,
    pub(super) name: bool,
}

/// Options with which somebody in the middle may go unnoticed. Each gives the builder back.
///
/// Pins, where there are any, are checked all the same; so is that the server owns the key of the
/// certificate that it shows.
#[derive(Debug)]
#[must_use = "each method gives the builder back"]
pub struct ClientDanger {
    pub(super) builder: TlsClientBuilder,
}

impl ClientDanger {
    /// Takes any certificate, whoever issued it, for whatever name and time. Whoever can answer in
    /// the server's place can read and change everything.
    pub fn accept_any_certificate(mut self) -> TlsClientBuilder {
        self.builder.excuses.any_certificate = true;
        self.builder
    }

    /// Takes a certificate that is good, but for another name. Every owner of a certificate from
    /// one of the roots can pose as the server: right only with roots that certify nobody else.
    pub fn skip_name_check(mut self) -> TlsClientBuilder {
        self.builder.excuses.name = true;
        self.builder
    }
}
