//! The shape of `quic` without the feature: there is no such socket.

/// No socket.
#[derive(Debug)]
pub(crate) enum QuicSocket {}

impl QuicSocket {
    pub(crate) const fn out_armed(&mut self) -> &mut bool {
        match *self {}
    }

    pub(crate) const fn is_out_armed(&self) -> bool {
        match *self {}
    }
}
