//! Every row of the corpus, sent to a server; nginx beside it, to see where it differs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use zero_io::{Event, HttpMethod, ZeroResponse};

use crate::http_corpus::{self, Answer, HEADER_COUNT, HEADER_SIZE, Row};
use crate::kit::Server;
use crate::nginx::Nginx;

fn server() -> Server {
    Server::with(
        |c| {
            c.max_header_count = HEADER_COUNT;
            c.max_header_size = HEADER_SIZE;
            c.max_body_inline = 1000;
        },
        |_| {},
        |sender, event| match event {
            // 2xx would make a tunnel.
            Event::HttpRequest { conn, id, request } if request.method() == HttpMethod::Connect => {
                let _ = sender.http_respond(*conn, *id, ZeroResponse::status(405));
            }
            Event::HttpRequest { conn, id, request } if !request.body_follows() => {
                let _ = sender.http_respond(*conn, *id, ZeroResponse::ok());
            }
            Event::HttpBodyChunk { conn, id, last: true, .. } => {
                let _ = sender.http_respond(*conn, *id, ZeroResponse::ok());
            }
            _ => {}
        },
    )
}

/// The status codes that come back, and whether the server ended the connection by itself.
fn statuses(addr: SocketAddr, pieces: &[&[u8]]) -> (Vec<u16>, bool) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        // The server may have refused what came before.
        if stream.write_all(piece).is_err() {
            break;
        }
        if pieces.len() > 1 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    let mut ended = false;
    loop {
        match stream.read(&mut piece) {
            Ok(0) => {
                ended = true;
                break;
            }
            Ok(n) => all.extend_from_slice(&piece[..n]),
            Err(_) => break,
        }
        // Accepted: the connection stays open, and need not be waited for.
        if !all.is_empty() && !all.windows(17).any(|w| w == b"Connection: close") {
            stream.set_read_timeout(Some(Duration::from_millis(40))).unwrap();
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    let text = String::from_utf8_lossy(&all).into_owned();
    let lines = text.split("\r\n").filter(|line| line.starts_with("HTTP/1."));
    let codes = lines.filter_map(|line| line.get(9..12)?.parse().ok());
    (codes.filter(|code| *code != 100).collect(), ended)
}

fn verdict(row: &Row, said: &(Vec<u16>, bool)) -> bool {
    match row.answer {
        Answer::Requests(count) => {
            said.0.len() == count && said.0.iter().all(|code| matches!(code, 200 | 405))
        }
        Answer::Refused(status) => {
            let Some((last, before)) = said.0.split_last() else { return false };
            *last == status && before.iter().all(|code| *code == 200) && said.1
        }
    }
}

#[test]
fn every_row_has_its_answer() {
    let server = server();
    let mut wrong = Vec::new();
    let rows = http_corpus::rows();
    assert!(rows.len() >= 120, "{} rows", rows.len());
    for row in &rows {
        let said = statuses(server.addr, &[&row.bytes]);
        if !verdict(row, &said) {
            wrong.push(format!("{} ({}): {:?}, got {said:?}", row.name, row.section, row.answer));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.stop();
}

#[test]
fn every_row_has_its_answer_however_it_is_cut() {
    let server = server();
    let mut wrong = Vec::new();
    for row in http_corpus::rows().iter().filter(|row| row.bytes.len() < 300) {
        // Byte by byte, and cut in three.
        let bytes: Vec<&[u8]> = row.bytes.chunks(1).collect();
        let thirds: Vec<&[u8]> = row.bytes.chunks(row.bytes.len() / 3 + 1).collect();
        for pieces in [bytes, thirds] {
            let said = statuses(server.addr, &pieces);
            if !verdict(row, &said) {
                wrong.push(format!("{}: {:?}, got {said:?}", row.name, row.answer));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.stop();
}

/// What nginx refuses or does not implement, and the RFCs allow.
const NGINX_REFUSES: [&str; 10] = [
    "every byte of a token",
    "method in small letters",
    "asterisk",
    "authority",
    "authority of IPv6",
    "tabs around a value",
    "empty Host for the server",
    "chunked in capitals",
    // Its buffers for heads are shorter.
    "head as long as allowed",
    "target as long as allowed",
];

/// Not a judge: nginx accepts framings that RFC 9112 refuses. The table is printed, and what we
/// accept nginx has to accept too, but for what is named above.
#[test]
fn nginx_beside_it() {
    let nginx = Nginx::start("client_max_body_size 0;");
    let mut stricter = 0;
    let mut laxer = Vec::new();
    for row in http_corpus::rows() {
        let (codes, _) = statuses(nginx.addr, &[&row.bytes]);
        let accepted = !codes.is_empty() && codes.iter().all(|code| *code < 400 || *code == 405);
        let ours = matches!(row.answer, Answer::Requests(_));
        if accepted && !ours {
            stricter += 1;
            eprintln!(
                "nginx accepts: {} ({}): {codes:?}, ours {:?}",
                row.name, row.section, row.answer
            );
        }
        if !accepted && ours {
            let is_known = NGINX_REFUSES.contains(&row.name);
            assert!(is_known, "{} is accepted, and nginx says {codes:?}", row.name);
            laxer.push(format!("{}: nginx says {codes:?}", row.name));
        }
    }
    eprintln!(
        "{stricter} rows that nginx accepts are refused; {} the other way round:",
        laxer.len()
    );
    eprintln!("{}", laxer.join("\n"));
    assert!(stricter > 0, "nginx was not asked");
}
