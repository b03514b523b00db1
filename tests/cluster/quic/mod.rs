//! QUIC over several shards.

mod dead;
mod hostile;
mod listening;
mod moving;
pub(crate) mod site;
