//! libFuzzer's entry, for whichever target ZERO_IO_FUZZ_TARGET names.
#![no_main]

use std::sync::OnceLock;
use zero_io_fuzz::{Target, chosen};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (TARGET.get_or_init(chosen).run)(bytes);
});
