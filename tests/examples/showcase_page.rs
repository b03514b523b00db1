//! The showcase's page as a person sees it: in a browser, while others load the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::browser::Browser;
use super::{Example, PATIENCE, tcp};

/// Clients of each kind, HTTP and echo, that ask without pause.
const CLIENTS: usize = 4;
/// What the page shows, by the names that it shows it under.
const FIGURES: &str = r##"(() => {
    const texts = selector => [...document.querySelectorAll(selector)].map(e => e.textContent);
    const values = texts("#figures dd");
    const bars = [...document.querySelectorAll("#latency div")];
    return {
        title: document.title,
        figures: Object.fromEntries(texts("#figures dt").map((name, i) => [name, values[i]])),
        answers: bars.map(bar => Number(bar.dataset.answers)).reduce((a, b) => a + b, 0),
        tallest: Math.max(...bars.map(bar => bar.getBoundingClientRect().height)),
        pools: Object.fromEntries([...document.querySelectorAll("#pools tr")].map(row => {
            const meter = row.querySelector("meter");
            return [row.cells[0].textContent, [meter.value, meter.max]];
        })),
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    };
})()"##;
/// Decodes the picture: its size, its colours, and how much of it has the colour of the bars.
const PICTURE: &str = r##"(async () => {
    const image = new Image();
    image.src = "data:image/png;base64,PNG";
    await image.decode();
    const {width, height} = image;
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
    const counts = new Map();
    for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
    const bar = 0xffe17d2a; // #2a7de1
    const ground = Math.max(...counts.values());
    return {
        width, height, colours: counts.size,
        drawn: pixels.length - ground, bars: counts.get(bar) || 0,
    };
})()"##;

/// One of the figures.
fn number(seen: &Value, name: &str) -> u64 {
    let text = seen["figures"][name].as_str().unwrap_or_else(|| panic!("no {name} in {seen}"));
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{name}: {text}"))
}

fn ask_until(mut stream: TcpStream, request: &[u8], end: &AtomicBool) {
    let mut answer = vec![0; 4096];
    while !end.load(Relaxed) {
        stream.write_all(request).unwrap();
        assert!(stream.read(&mut answer).unwrap() > 0, "the showcase closed");
    }
}

#[test]
fn the_showcase_page_lives_in_a_browser() {
    let Some(mut browser) = Browser::start() else { return };
    let mut server = Example::start("showcase", &["--seconds", "60"]);
    let lines: [String; 7] = std::array::from_fn(|_| server.line());
    let echo = lines[0].split_once("nc ").unwrap().1.replace(' ', ":");
    let page = lines[6].split_whitespace().last().unwrap().to_owned();
    let web = page.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (web, echo) = (tcp(web.parse().unwrap()), tcp(echo.parse().unwrap()));
            let end = &end;
            scope.spawn(move || ask_until(web, b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n", end));
            scope.spawn(move || ask_until(echo, b"there and back", end));
        }
        let _stop = StopWhenDropped(&end);
        browser.open(&page);
        let first = wait_for(&mut browser, |seen| number(seen, "requests/s") > 0);
        let then = number(&first, "requests");
        let seen = wait_for(&mut browser, |seen| number(seen, "requests") > then);
        check(&seen);
        picture(&mut browser);
    });
}

/// The clients end, whatever else happens.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// What the page shows once it is what was waited for.
fn wait_for(browser: &mut Browser, is_it: impl Fn(&Value) -> bool) -> Value {
    let limit = Instant::now() + PATIENCE;
    loop {
        let seen = browser.evaluate(FIGURES);
        let is_filled = seen["figures"].as_object().is_some_and(|figures| !figures.is_empty());
        if is_filled && is_it(&seen) {
            return seen;
        }
        assert!(Instant::now() < limit, "the figures stand still: {seen}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn check(seen: &Value) {
    // The browser has connections of its own.
    let connections = number(seen, "connections");
    assert!(connections > 2 * CLIENTS as u64, "{seen}");
    assert!(number(seen, "messages/s") > 0 && number(seen, "sent, KiB/s") > 0, "{seen}");
    assert!(number(seen, "system calls/s") > 0 && seen["figures"]["pressure"] == "Healthy");
    let title = format!("zero-io: {} requests", number(seen, "requests"));
    assert!(seen["title"] == title, "{title} in {seen}");
    assert!(
        seen["answers"].as_u64().unwrap() > 0 && seen["tallest"].as_f64() > Some(100.0),
        "{seen}"
    );
    let pools = seen["pools"].as_object().unwrap();
    assert_eq!(pools.len(), 7, "{seen}");
    let used = |name: &str| pools[name][0].as_f64().unwrap_or_else(|| panic!("{name} in {seen}"));
    assert!(used("connections") as u64 > 2 * CLIENTS as u64, "{seen}");
    assert!(pools.values().all(|pool| pool[0].as_f64() <= pool[1].as_f64()), "{seen}");
    assert_eq!(seen["overflow"], 0, "the page is wider than the window");
}

/// Takes a picture, looks at it, and leaves it beside the test's program.
fn picture(browser: &mut Browser) {
    let png = browser.screenshot();
    let looks = browser.evaluate(&PICTURE.replace("PNG", &png));
    assert!(looks["width"] == 1000 && looks["height"].as_u64() > Some(700), "{looks}");
    assert!(looks["colours"].as_u64() > Some(20), "{looks}");
    assert!(
        looks["drawn"].as_u64() > Some(10_000) && looks["bars"].as_u64() > Some(1000),
        "{looks}"
    );
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(3).unwrap();
    let path = target.join("showcase.png");
    let bytes = bytes_of(&png);
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.len() > 10_000, "{}", bytes.len());
    std::fs::write(&path, bytes).unwrap();
    eprintln!("{}: {looks}", path.display());
}

/// Base64 (RFC 4648 §4).
fn bytes_of(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("{c} in base64"),
    };
    let digits: Vec<u8> = text.trim_end_matches('=').bytes().map(digit).collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}
