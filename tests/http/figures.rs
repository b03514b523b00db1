//! What a listener counts, beside what went over the wire; and the date.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zero_io::Event;

use crate::kit::{Server, get, hello};

#[test]
fn bytes_and_classes_are_those_of_the_wire() {
    let server = Server::hello();
    let mut client = server.dial();
    let good = [
        get("/"),
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nabcde".to_owned(),
        "HEAD / HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(),
        "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "2;x=y\r\nab\r\n0\r\nt: v\r\n\r\n".to_owned(),
    ];
    client.send(good.concat());
    client.send("GET / HTTP/1.1\r\nHost : t\r\n\r\n");
    let mut answers = Vec::new();
    client.stream.read_to_end(&mut answers).unwrap();
    drop(client);
    let counters = server.stop().counters;
    assert_eq!((counters.requests, counters.refused, counters.timeouts), (4, 1, 0));
    assert_eq!(counters.answers, [0, 4, 0, 1, 0]);
    // What was refused was handed out to nobody.
    assert_eq!(counters.bytes_received, good.concat().len() as u64);
    assert_eq!(counters.bytes_sent, answers.len() as u64);
    assert_eq!(counters.latency_us_log2.iter().sum::<u64>(), 5);
}

#[test]
fn a_slow_answer_is_in_a_slow_bucket() {
    const SLOW: Duration = Duration::from_millis(70);
    let (give, take) = std::sync::mpsc::channel::<zero_io::HttpOwnedRequest>();
    let server = Server::full(
        |_| {},
        |_| {},
        |sender, event, take| match event {
            Event::HttpRequest { request, .. } if request.path() == "/slow" => *take = true,
            _ => hello(sender, event),
        },
        move |request| give.send(request).unwrap(),
    );
    let handle = server.handle.clone();
    let worker = std::thread::spawn(move || {
        let request = take.recv().unwrap();
        std::thread::sleep(SLOW);
        let answer = zero_io::ZeroResponse::no_content();
        handle.http_respond(request.conn(), request.id(), answer).unwrap();
    });
    let mut client = server.dial();
    assert_eq!(client.ask(get("/")).status, 200);
    assert_eq!(client.ask(get("/slow")).status, 204);
    worker.join().unwrap();
    drop(client);
    let buckets = server.stop().counters.latency_us_log2;
    // From 2^16 microseconds on: the last bucket that can have it is that of the test's patience.
    assert_eq!(buckets[17..].iter().sum::<u64>(), 1, "{buckets:?}");
    assert_eq!(buckets.iter().sum::<u64>(), 2, "{buckets:?}");
}

#[test]
fn the_date_goes_on() {
    let server = Server::hello();
    let mut client = server.dial();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let before = secs_of_day();
        let answer = client.ask(get("/"));
        let date = answer.header("date").unwrap();
        // `Sun, 06 Nov 1994 08:49:37 GMT`
        let part = |at: usize| date[at..at + 2].parse::<u64>().unwrap();
        let said = part(17) * 3600 + part(20) * 60 + part(23);
        // It is made anew twice a second; a day may end in the meantime.
        let behind = (secs_of_day() + 86_400 - said) % 86_400;
        assert!(behind <= 1 + secs_of_day().abs_diff(before), "{date}: {behind} s behind");
        seen.push(said);
        std::thread::sleep(Duration::from_millis(1600));
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
    drop(client);
    server.stop();
}

fn secs_of_day() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 86_400
}
