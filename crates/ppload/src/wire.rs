//! What generator and sink say to each other: a PROXY header, a request, an answer.
//!
//! Requests and answers are plain HTTP/1.1, so that either end can also face wrk or nginx. `GET /N`
//! asks for N bytes; `POST /N?CHECK` sends a body as well, and the answer then ends with a verdict
//! on it: the sink compares as closely as CHECK says, every byte where it says nothing.
//! Not an HTTP library: it knows the few forms that the programs beside us really send.

use clap::ValueEnum;

use crate::pattern::Check;

/// The PROXY header in front of a connection's first request. It names documentation addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Header {
    /// No header
    None,
    /// A text line
    V1,
    /// The binary form
    V2,
}

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, PROXY; TCP over IPv4; 12 bytes of addresses.
const V2: &[u8; 28] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0C\xCB\x00\x71\x07\xC0\x00\x02\x01\xCA\x6C\x01\xBB";
/// The longest v1 line, its end included (section 2.1).
const V1_MAX: usize = 107;

impl Header {
    /// The header as it is sent.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::V1 => V1,
            Self::V2 => V2,
        }
    }
}

/// Something that stands at the beginning of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// It takes this many bytes.
    At(usize, T),
    /// It is not complete yet.
    Incomplete,
    /// Something else stands there.
    Bad,
}

/// Finds a PROXY header of either version, without a look at what it says.
pub fn find_header(bytes: &[u8]) -> Found<()> {
    let shared = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..shared] == V2_SIGNATURE[..shared] {
        let Some(len) = bytes.get(14..16) else { return Found::Incomplete };
        let end = 16 + usize::from(u16::from_be_bytes([len[0], len[1]]));
        return if bytes.len() >= end { Found::At(end, ()) } else { Found::Incomplete };
    }
    if !bytes.starts_with(b"PROXY ") {
        return if b"PROXY ".starts_with(bytes) { Found::Incomplete } else { Found::Bad };
    }
    match position(&bytes[..bytes.len().min(V1_MAX)], b"\r\n") {
        Some(at) => Found::At(at + 2, ()),
        None if bytes.len() < V1_MAX => Found::Incomplete,
        None => Found::Bad,
    }
}

/// What becomes of a connection once a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The sink closes it.
    Close,
    /// It stays open for the next request.
    Keep,
}

/// A request: how many bytes travel each way as bodies, and how closely who receives them looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes of the upload.
    pub up: u64,
    /// Bytes of the answer, without the verdict on an upload.
    pub down: u64,
    /// What becomes of the connection.
    pub after: After,
    /// How closely who receives them compares the bytes.
    pub check: Check,
}

/// The last bytes of the answer to an upload.
pub(super) const RECEIVED: &[u8; 8] = b"received";
/// The same, when the upload had wrong bytes.
pub(super) const CORRUPT: &[u8; 8] = b"corrupt!";

/// The longest head of a request or an answer that is taken.
pub(super) const HEAD_MAX: usize = 2048;

const HEAD_END: &[u8] = b"\r\n\r\n";
const CLOSE: &str = "Connection: close\r\n";
const LENGTH: &[u8] = b"\r\nContent-Length: ";

impl Request {
    /// The head as it is sent.
    pub fn head(&self) -> Vec<u8> {
        let Self { up, down, after, check } = self;
        let close = after.line();
        match up {
            0 => format!("GET /{down} HTTP/1.1\r\nHost: load\r\n{close}\r\n"),
            up => format!(
                "POST /{down}?{} HTTP/1.1\r\nHost: load\r\n{close}Content-Length: {up}\r\n\r\n",
                check.word()
            ),
        }
        .into_bytes()
    }

    /// Finds the head of a request; one that names no size, as wrk's, asks for `default` bytes.
    pub fn find(bytes: &[u8], default: u64) -> Found<Self> {
        let Some(end) = position(bytes, HEAD_END) else { return incomplete_head(bytes) };
        let head = &bytes[..end + 2];
        let Some(path) = head.strip_prefix(b"GET /").or_else(|| head.strip_prefix(b"POST /"))
        else {
            return Found::Bad;
        };
        let (down, digits) = leading_number(path);
        let asks = |check: &Check| {
            let query = path[digits..].strip_prefix(b"?");
            query.is_some_and(|query| query.starts_with(check.word().as_bytes()))
        };
        let request = Self {
            up: content_length(head).unwrap_or(0),
            down: if digits == 0 { default } else { down },
            after: match position(head, CLOSE.as_bytes()) {
                Some(_) => After::Close,
                None => After::Keep,
            },
            check: [Check::Ends, Check::Length].into_iter().find(asks).unwrap_or(Check::Full),
        };
        Found::At(end + HEAD_END.len(), request)
    }

    /// The bytes of the answer's body: those asked for, and the verdict on an upload.
    pub(super) fn answer_body(&self) -> u64 {
        self.down + if self.up > 0 { 8 } else { 0 }
    }

    /// The head of the answer.
    pub fn answer_head(&self) -> String {
        let (close, body) = (self.after.line(), self.answer_body());
        format!("HTTP/1.1 200 OK\r\n{close}Content-Length: {body}\r\n\r\n")
    }
}

impl After {
    fn line(self) -> &'static str {
        match self {
            Self::Close => CLOSE,
            Self::Keep => "",
        }
    }
}

/// Finds the head of a successful answer; the value is the length of its body.
pub(super) fn find_answer(bytes: &[u8]) -> Found<u64> {
    const OK: &[u8] = b"HTTP/1.1 200";
    let shared = bytes.len().min(OK.len());
    if bytes[..shared] != OK[..shared] {
        return Found::Bad;
    }
    let Some(end) = position(bytes, HEAD_END) else { return incomplete_head(bytes) };
    match content_length(&bytes[..end + 2]) {
        Some(len) => Found::At(end + HEAD_END.len(), len),
        None => Found::Bad,
    }
}

fn incomplete_head<T>(bytes: &[u8]) -> Found<T> {
    if bytes.len() < HEAD_MAX { Found::Incomplete } else { Found::Bad }
}

fn content_length(head: &[u8]) -> Option<u64> {
    let at = position(head, LENGTH)?;
    let (length, digits) = leading_number(&head[at + LENGTH.len()..]);
    (digits > 0).then_some(length)
}

/// The number at the beginning of `bytes`, and how many digits it has.
fn leading_number(bytes: &[u8]) -> (u64, usize) {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = bytes[..digits]
        .iter()
        .fold(0u64, |value, digit| value.saturating_mul(10).saturating_add((digit - b'0').into()));
    (value, digits)
}

fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_is_found_at_its_end_and_no_earlier() {
        for header in [Header::V1, Header::V2] {
            let len = header.bytes().len();
            let sent = [header.bytes(), b"GET /"].concat();
            assert_eq!(find_header(&sent), Found::At(len, ()), "{header:?}");
            for cut in 0..len {
                assert_eq!(find_header(&sent[..cut]), Found::Incomplete, "{header:?} at {cut}");
            }
        }
        assert_eq!(find_header(b"GET / HTTP/1.1\r\n"), Found::Bad);
        assert_eq!(find_header(&[b"PROXY ".as_slice(), &[b'x'; 120]].concat()), Found::Bad);
    }

    #[test]
    fn the_v2_header_carries_the_addresses_of_the_v1_line() {
        assert_eq!(V2[16..20], [203, 0, 113, 7]);
        assert_eq!(V2[20..24], [192, 0, 2, 1]);
        assert_eq!(u16::from_be_bytes([V2[24], V2[25]]), 51_820);
        assert_eq!(u16::from_be_bytes([V2[26], V2[27]]), 443);
    }

    #[test]
    fn a_request_is_understood_as_it_was_meant() {
        for after in [After::Close, After::Keep] {
            for (up, down, check) in [
                (0, 0, Check::Full),
                (0, 128, Check::Full),
                (5, 0, Check::Full),
                (5, 7, Check::Length),
                (1 << 40, 1 << 30, Check::Ends),
            ] {
                let request = Request { up, down, after, check };
                let head = request.head();
                assert_eq!(Request::find(&head, 9), Found::At(head.len(), request));
                let cut = &head[..head.len() - 1];
                assert_eq!(Request::find(cut, 9), Found::Incomplete);
            }
        }
    }

    #[test]
    fn a_request_without_a_size_asks_for_the_default() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = Request { up: 0, down: 9, after: After::Keep, check: Check::Full };
        assert_eq!(Request::find(head, 9), Found::At(head.len(), request));
        assert_eq!(Request::find(b"PUT /1 HTTP/1.1\r\n\r\n", 9), Found::Bad);
        assert_eq!(Request::find(&[b'x'; HEAD_MAX], 9), Found::Bad);
    }

    #[test]
    fn an_answer_tells_the_length_of_its_body_and_an_error_is_bad() {
        let request = Request { up: 3, down: 100, after: After::Close, check: Check::Full };
        let head = request.answer_head();
        assert_eq!(find_answer(head.as_bytes()), Found::At(head.len(), 108));
        assert_eq!(find_answer(&head.as_bytes()[..20]), Found::Incomplete);
        assert_eq!(find_answer(b"HTTP/1.1 502 Bad Gateway\r\n"), Found::Bad);
        assert_eq!(find_answer(b"HTTP/1.1 200 OK\r\n\r\n"), Found::Bad);
    }
}
