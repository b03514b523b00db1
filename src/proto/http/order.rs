//! [`Order`]: a request that was written down, to wait for a connection, or to be sent again.

use std::time::Duration;

use super::draft::Draft;
use super::request::RequestOptions;
use super::{BodyLen, Content, Parts, RequestHead, ZeroRequest};
use crate::error::Result;
use crate::http::{HttpMethod, HttpUrl, UrlPlaces};
use crate::pool::SendBuffer;

/// A request that borrows nothing.
pub(crate) struct Order {
    pub(crate) method: HttpMethod,
    pub(crate) options: RequestOptions,
    pub(crate) timeout: Option<Duration>,
    /// Redirects that it followed.
    pub(crate) redirects: u8,
    pub(super) body: BodyLen,
    /// In front of the header lines: URL, host, protocols, where a tunnel leads.
    pub(super) lens: [u16; 4],
    pub(super) places: UrlPlaces,
    pub(super) draft: Draft,
}

impl Order {
    /// Writes a request down: into what `buffer` gives for so many bytes, else on the heap. JSON is
    /// serialised into `scratch` first.
    ///
    /// # Errors
    /// When it is no sound request.
    pub(crate) fn new(
        request: &mut ZeroRequest<'_>,
        scratch: &mut Vec<u8>,
        buffer: impl FnOnce(usize) -> Option<SendBuffer>,
    ) -> Result<Self> {
        let url = request.check()?;
        let is_json = matches!(request.content, Content::Json(_));
        let mut body = request.body_len();
        let content = std::mem::replace(&mut request.content, Content::None);
        let front = [url.as_str(), request.host, request.upgrade, request.tunnel];
        let draft = Draft::new(&front, &request.parts(), content, scratch, buffer)?;
        if is_json {
            body = BodyLen::Known(draft.copied_len() as u64);
        }
        Ok(Self {
            method: request.method,
            options: request.options,
            timeout: request.timeout,
            redirects: 0,
            body,
            lens: front.map(|text| text.len() as u16),
            places: url.places(),
            draft,
        })
    }

    /// URL, host, protocols, where a tunnel leads.
    pub(super) fn front(&self) -> [&str; 4] {
        front_of(self.draft.front(), self.lens)
    }

    pub(crate) fn url(&self) -> HttpUrl<'_> {
        let [url, ..] = self.front();
        HttpUrl::at(url, self.places)
    }

    /// Whether it is to make another protocol of its connection.
    pub(crate) fn is_upgrade(&self) -> bool {
        let [_, _, upgrade, _] = self.lens;
        upgrade > 0 || self.method == HttpMethod::Connect
    }

    /// Its head.
    pub(crate) fn head(&self) -> RequestHead<'_> {
        let [url, host, upgrade, tunnel] = self.front();
        RequestHead {
            method: self.method,
            url: HttpUrl::at(url, self.places),
            host,
            upgrade,
            tunnel,
            parts: Parts::Lines { lines: self.draft.lines(), is_compressible: false },
            body: self.body,
            expects: self.options.contains(RequestOptions::EXPECTS),
            is_absolute: false,
            proxy_authorization: "",
            close: false,
        }
    }

    /// How its body is framed.
    pub(crate) const fn body(&self) -> BodyLen {
        self.body
    }

    /// The body, to be sent behind the head. What is a buffer of the pool, or written later, is
    /// given away: then the order [is no longer whole](Self::is_whole).
    pub(crate) fn content(&mut self) -> Content<'_> {
        self.draft.lend().1
    }

    /// Whether all of it is here, so that it can be sent (again).
    pub(crate) const fn is_whole(&self) -> bool {
        !self.draft.is_gone()
    }

    /// The same, and none of it is the application's to write.
    pub(crate) const fn is_kept(&self) -> bool {
        self.is_whole() && !self.draft.is_later()
    }

    /// How long its body is if that is no buffer, and whether it is a copy.
    pub(crate) fn sizes(&self) -> (Option<usize>, bool) {
        self.draft.body_len()
    }
}

fn front_of(front: &[u8], lens: [u16; 4]) -> [&str; 4] {
    let mut rest = str::from_utf8(front).unwrap_or_default();
    lens.map(|len| {
        let (text, behind) = rest.split_at_checked(len.into()).unwrap_or_default();
        rest = behind;
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::WriteGuard;

    fn order(mut request: ZeroRequest<'_>) -> Order {
        Order::new(&mut request, &mut Vec::new(), |_| None).unwrap()
    }

    fn bytes(content: &Content<'_>) -> Option<Vec<u8>> {
        Some(match content {
            Content::None => Vec::new(),
            Content::Copied(bytes) => bytes.to_vec(),
            Content::Kept(memory) => memory.bytes().to_vec(),
            _ => return None,
        })
    }

    #[test]
    fn what_was_written_down_is_what_is_sent() {
        type R<'a> = ZeroRequest<'a>;
        let make: [fn() -> R<'static>; 7] = [
            || R::get("http://a/b?c#d"),
            || R::get("http://a").host("b").upgrade("c").header("d", "e"),
            || R::connect("http://p", "a:443"),
            || R::post("http://a").text("hello"),
            || R::post("http://a").static_bytes(b"static"),
            || R::post("http://a").stream().expect_continue(),
            || R::put("http://a").stream_of(9),
        ];
        for make in make {
            let request = make();
            let direct = request.request_head(request.check().unwrap()).written();
            let mut order = order(make());
            assert_eq!(order.head().written(), direct);
            let own = bytes(&request.content);
            assert_eq!(bytes(&order.content()), own);
            // What can be given twice is.
            assert_eq!(order.is_whole(), own.is_some());
            assert_eq!(bytes(&order.content()), Some(own.unwrap_or_default()));
            assert_eq!(order.is_upgrade(), direct.contains("upgrade") || direct.contains("443"));
        }
    }

    #[test]
    fn how_it_is_to_be_sent_is_kept() {
        let time = Duration::from_secs(3);
        let order = order(ZeroRequest::get("http://a").timeout(time).no_redirects());
        assert_eq!((order.timeout, order.redirects), (Some(time), 0));
        assert_eq!(order.options, RequestOptions::NO_REDIRECTS);
        assert_eq!(order.url().as_str(), "http://a");
    }

    #[test]
    fn json_is_serialised_once() {
        let mut scratch = Vec::with_capacity(64);
        let value = [1, 2, 3];
        let mut request = ZeroRequest::post("http://a").json(&value);
        let mut order = Order::new(&mut request, &mut scratch, |_| None).unwrap();
        let head = order.head().written();
        assert!(head.contains("Content-Type: application/json\r\nContent-Length: 7\r\n"), "{head}");
        assert_eq!(bytes(&order.content()).unwrap(), b"[1,2,3]");
        assert_eq!((order.sizes(), order.body()), ((Some(7), true), BodyLen::Known(7)));
    }

    #[test]
    fn shared_memory_is_not_copied() {
        let memory: std::sync::Arc<[u8]> = vec![7; 100].into();
        let mut order = order(ZeroRequest::post("http://a").shared(memory.clone()));
        let Content::Kept(WriteGuard::Shared(kept)) = order.content() else { panic!("kept") };
        assert!(std::sync::Arc::ptr_eq(&kept, &memory));
        assert_eq!(order.sizes(), (Some(100), false));
    }

    #[test]
    fn unsound_requests_are_not_written_down() {
        let mut request = ZeroRequest::get("ftp://a");
        assert!(Order::new(&mut request, &mut Vec::new(), |_| unreachable!()).is_err());
    }
}
