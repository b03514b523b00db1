//! Target `http_url`: URLs, and what a `Location` leads to from them.
//!
//! Held: what is accepted is put together again from its parts, is accepted as that again, and has
//! no byte that ends a request line or hides a host; a reference that is a whole URL leads there
//! from anywhere; what a reference leads to has no dot segment, and no more room is taken than a
//! URL may have.

use zero_io::{HttpUrl, HttpUrlError};

const LEN_MAX: usize = 8192;

pub(crate) fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (first, location) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let base = std::str::from_utf8(first).ok().and_then(|text| HttpUrl::parse(text).ok());
    if let Some(url) = &base {
        accepted(url);
    }
    let fallback = HttpUrl::parse("http://a.example:8080/b/c/d;p?q").expect("a URL");
    let base = base.unwrap_or(fallback);
    for location in [location, first, bytes] {
        follow(&base, location);
    }
}

fn accepted(url: &HttpUrl<'_>) {
    let text = url.as_str();
    assert!(text.len() <= LEN_MAX);
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>#".contains(&byte)));
    assert_ne!(url.port(), 0);
    assert!(!url.host().is_empty() && !url.authority().contains('@'));
    let scheme = if url.is_https() { "https" } else { "http" };
    let query = url.query().map_or(String::new(), |query| format!("?{query}"));
    let again = format!("{scheme}://{}{}{query}", url.authority(), url.path());
    if again.len() <= LEN_MAX {
        let again = HttpUrl::parse(&again).expect("a URL of its own parts");
        assert!(again.is_same_origin(url) && url.is_same_origin(&again));
        assert_eq!((again.host(), again.port()), (url.host(), url.port()));
        assert_eq!((again.path(), again.query()), (url.path(), url.query()));
        assert_eq!((again.authority(), again.ip()), (url.authority(), url.ip()));
    }
    // A name that others read as an address is none here.
    let name = url.host().trim_end_matches('.');
    let is_address_elsewhere =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(url.ip().is_some() || !is_address_elsewhere, "{url}");
}

fn follow(base: &HttpUrl<'_>, location: &[u8]) {
    let mut out = String::with_capacity(LEN_MAX);
    let Ok(found) = base.resolve(location, &mut out) else {
        assert_eq!(out.capacity(), LEN_MAX);
        let whole = std::str::from_utf8(location).ok().and_then(|text| HttpUrl::parse(text).ok());
        assert!(whole.is_none(), "a URL leads where it says");
        return;
    };
    accepted(&found);
    // An empty reference leaves the base's path as it is, dots and all.
    let is_kept = matches!(location.first(), None | Some(b'#' | b'?'));
    let has_dots = found.path().split('/').any(|segment| matches!(segment, "." | ".."));
    let base_has_dots = base.path().split('/').any(|segment| matches!(segment, "." | ".."));
    assert!(is_kept || !has_dots || base_has_dots, "{found} from {base}");
    let found = found.as_str().to_owned();
    assert_eq!(out.capacity(), LEN_MAX);
    // What was found is whole, and leads to itself.
    let mut again = String::new();
    let again =
        HttpUrl::parse("https://other/").expect("a URL").resolve(found.as_bytes(), &mut again);
    match again {
        Ok(again) if !is_kept && !base_has_dots => assert_eq!(again.as_str(), found),
        Ok(again) => {
            assert_eq!(again.authority(), HttpUrl::parse(&found).expect("a URL").authority())
        }
        Err(error) => assert_eq!(error, HttpUrlError::TooLong),
    }
}
