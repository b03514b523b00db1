//! What httparse's scalar path makes of bytes, for a caller whose own httparse uses SIMD.

mod seen;

/// As [`seen::request`].
///
/// # Safety
/// At `bytes` there are `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scalar_request(bytes: *const u8, len: usize, fields_max: usize) -> u64 {
    // SAFETY: the caller says so.
    seen::request(unsafe { std::slice::from_raw_parts(bytes, len) }, fields_max)
}

/// As [`seen::response`].
///
/// # Safety
/// At `bytes` there are `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scalar_response(bytes: *const u8, len: usize, fields_max: usize) -> u64 {
    // SAFETY: the caller says so.
    seen::response(unsafe { std::slice::from_raw_parts(bytes, len) }, fields_max)
}
