//! QUIC over several shards.

mod dead;
mod drain;
mod hostile;
mod listening;
mod moving;
mod own_ids;
mod reload;
mod routed;
pub(crate) mod site;
