//! QUIC over several shards.

mod dead;
mod hostile;
mod listening;
mod moving;
mod routed;
pub(crate) mod site;
