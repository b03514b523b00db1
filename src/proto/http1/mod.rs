//! stub
use crate::http::HttpMethod;
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits { pub(crate) header_count: u16, pub(crate) header_size: u32 }
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body { None, Length(u64), Chunked }
bitflags::bitflags! {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct HeadFlags: u8 {
        const CLOSE = 1; const VERSION_10 = 2; const KEEP_ALIVE_10 = 4; const EXPECT_CONTINUE = 8; const UPGRADE = 16; const ACCEPTS_GZIP = 32;
    }
}
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head { pub(crate) method: HttpMethod, pub(crate) method_len: u8, pub(crate) target_len: u16, pub(crate) head_len: u16, pub(crate) flags: HeadFlags, pub(crate) body: Body }
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parsed { Head(Head), Partial, Refused(Refusal) }
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal { pub(crate) status: u16, pub(crate) code: u64 }
pub(crate) fn parse_request(input: &[u8], limits: &Limits) -> Parsed {
    let mut h = [httparse::EMPTY_HEADER; 64];
    let mut r = httparse::Request::new(&mut h);
    match r.parse(&input[..input.len().min(limits.header_size as usize)]) {
        Ok(httparse::Status::Complete(n)) => {
            let m = r.method.unwrap();
            let mut body = Body::None;
            let mut flags = HeadFlags::empty();
            if r.version == Some(0) { flags |= HeadFlags::VERSION_10 | HeadFlags::CLOSE; }
            for x in r.headers.iter() {
                if x.name.eq_ignore_ascii_case("content-length") { body = Body::Length(std::str::from_utf8(x.value).unwrap().parse().unwrap()); if body == Body::Length(0) { body = Body::None; } }
                if x.name.eq_ignore_ascii_case("transfer-encoding") { body = Body::Chunked; }
                if x.name.eq_ignore_ascii_case("expect") { flags |= HeadFlags::EXPECT_CONTINUE; }
                if x.name.eq_ignore_ascii_case("upgrade") { flags |= HeadFlags::UPGRADE; }
                if x.name.eq_ignore_ascii_case("connection") && x.value == b"close" { flags |= HeadFlags::CLOSE; }
            }
            let method = match m { "GET" => HttpMethod::Get, "HEAD" => HttpMethod::Head, "POST" => HttpMethod::Post, "CONNECT" => HttpMethod::Connect, _ => HttpMethod::Other };
            Parsed::Head(Head { method, method_len: m.len() as u8, target_len: r.path.unwrap().len() as u16, head_len: n as u16, flags, body })
        }
        Ok(_) => Parsed::Partial,
        Err(_) => Parsed::Refused(Refusal { status: 400, code: 0x1_0400 }),
    }
}
mod chunked;
pub(crate) use chunked::{Chunked, ChunkStep};

mod machine;
pub(crate) use super::http::Reply;
pub(crate) use machine::{Http1, HttpServer, Pending, Writing};
