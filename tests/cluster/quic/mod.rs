//! QUIC over several shards.

mod dead;
mod drain;
mod hostile;
mod listening;
mod moving;
pub(crate) mod site;
