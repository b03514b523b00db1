//! httparse's scalar path as an oracle of the one that uses SIMD, which is what we run on.
//!
//! Held: both say the same of the same bytes, part by part, however long they are and wherever they
//! lie. What is ours is compared with httparse elsewhere.

#[path = "../scalar/src/seen.rs"]
mod seen;

unsafe extern "C" {
    fn scalar_request(bytes: *const u8, len: usize, fields_max: usize) -> u64;
    fn scalar_response(bytes: *const u8, len: usize, fields_max: usize) -> u64;
}

pub(crate) fn request_agrees(bytes: &[u8], fields_max: usize) {
    // SAFETY: it reads so many bytes there.
    let scalar = unsafe { scalar_request(bytes.as_ptr(), bytes.len(), fields_max) };
    assert_eq!(seen::request(bytes, fields_max), scalar, "httparse's scalar path");
}

pub(crate) fn response_agrees(bytes: &[u8], fields_max: usize) {
    // SAFETY: it reads so many bytes there.
    let scalar = unsafe { scalar_response(bytes.as_ptr(), bytes.len(), fields_max) };
    assert_eq!(seen::response(bytes, fields_max), scalar, "httparse's scalar path");
}
