//! All that httparse says of a head, as one number: compiled twice, against two httparses.

use httparse::{EMPTY_HEADER, Error, Header, Request, Response, Status};

/// Fields at most, whatever is asked for.
const FIELDS_MAX: usize = 128;

/// Of a request's head, with room for so many fields.
pub(crate) fn request(bytes: &[u8], fields_max: usize) -> u64 {
    let mut room = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut room[..fields_max.min(FIELDS_MAX)]);
    let said = request.parse(bytes);
    let mut seen = Seen::of(said);
    seen.part(bytes, request.method.map(str::as_bytes));
    seen.part(bytes, request.path.map(str::as_bytes));
    seen.number(request.version.map_or(u64::MAX, u64::from));
    seen.fields(bytes, said, request.headers);
    seen.0
}

/// Of a response's head.
pub(crate) fn response(bytes: &[u8], fields_max: usize) -> u64 {
    let mut room = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = Response::new(&mut room[..fields_max.min(FIELDS_MAX)]);
    let said = response.parse(bytes);
    let mut seen = Seen::of(said);
    seen.number(response.code.map_or(u64::MAX, u64::from));
    seen.part(bytes, response.reason.map(str::as_bytes));
    seen.number(response.version.map_or(u64::MAX, u64::from));
    seen.fields(bytes, said, response.headers);
    seen.0
}

/// FNV-1a, by numbers.
struct Seen(u64);

impl Seen {
    fn of(said: Result<Status<usize>, Error>) -> Self {
        let mut seen = Self(0xCBF2_9CE4_8422_2325);
        seen.number(match said {
            Ok(Status::Complete(len)) => len as u64,
            Ok(Status::Partial) => u64::MAX,
            Err(error) => u64::MAX - 1 - error as u64,
        });
        seen
    }

    fn number(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// Where a part lies in the bytes, and how long it is. What is not of them is a text of
    /// httparse's own.
    fn part(&mut self, bytes: &[u8], part: Option<&[u8]>) {
        let Some(part) = part else { return self.number(u64::MAX) };
        let at = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        self.number(if at <= bytes.len() && !part.is_empty() { at as u64 } else { u64::MAX });
        self.number(part.len() as u64);
    }

    /// Only of a whole head: what is in the room of another is nobody's.
    fn fields(&mut self, bytes: &[u8], said: Result<Status<usize>, Error>, fields: &[Header<'_>]) {
        if matches!(said, Ok(Status::Complete(_))) {
            for field in fields {
                self.part(bytes, Some(field.name.as_bytes()));
                self.part(bytes, Some(field.value));
            }
        }
    }
}
