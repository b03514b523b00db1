//! zero-io.
