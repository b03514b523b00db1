//! The shape of `quic` without the feature: there is none.

pub(crate) mod session {
    //! Connections.

    /// No connection.
    #[derive(Debug)]
    pub(crate) enum Session {}
}

pub(crate) mod signal {
    //! What they tell.

    /// Nothing.
    #[derive(Debug)]
    pub(crate) enum Signal {}
}
