//! QUIC over several shards.

mod dead;
mod drain;
mod hostile;
mod listening;
mod moving;
mod reload;
mod routed;
pub(crate) mod site;
