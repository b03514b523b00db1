//! Real clients: curl, Python's http.client, wrk. They must be installed: `cargo xtask setup`.

use std::process::Command;

use crate::kit::Server;

fn run(name: &str, args: &[&str]) -> String {
    let output = Command::new(name).args(args).output();
    let output =
        output.unwrap_or_else(|e| panic!("{name} does not start: {e}; `cargo xtask setup`"));
    let (said, told) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {args:?}: {}\n{said}{told}", output.status);
    said.into_owned()
}

#[test]
fn curl_reuses_its_connection() {
    let server = Server::hello();
    let url = format!("http://{}/[1-50]", server.addr);
    let write =
        ["-sS", "--max-time", "20", "-w", "%{num_connects} %{http_code}\n", "-o", "/dev/null"];
    let said = run("curl", &[&write[..], &[&url]].concat());
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0]), (50, "1 200"), "{said}");
    assert!(lines[1..].iter().all(|line| *line == "0 200"), "{said}");
    assert_eq!(server.stop().ends, [(0, true)]);
}

#[test]
fn python_sends_every_kind_of_body() {
    let server = Server::hello();
    let script = format!(
        "
import http.client
c = http.client.HTTPConnection('{}', {}, timeout=20)
def ask(method, body=None, headers={{}}, chunked=False):
    c.request(method, '/x?y=z', body, headers, encode_chunked=chunked)
    r = c.getresponse()
    return r.status, r.read()
assert ask('GET') == (200, b'Hello'), 'GET'
assert ask('HEAD') == (200, b''), 'HEAD'
for n in (1, 1000, 16384, 16385, 300000):
    data = bytes(i % 251 for i in range(n))
    assert ask('POST', data) == (200, data), n
    pieces = (data[i:i + 4096] for i in range(0, n, 4096))
    got = ask('PUT', pieces, {{'Transfer-Encoding': 'chunked'}}, True)
    assert got == (200, data), n
assert ask('GET') == (200, b'Hello'), 'and again'
print('done')
",
        server.addr.ip(),
        server.addr.port()
    );
    assert_eq!(run("python3", &["-c", &script]), "done\n");
    assert_eq!(server.stop().ends, [(0, true)]);
}

#[test]
fn wrk_finds_no_error() {
    let server = Server::hello();
    let url = format!("http://{}/", server.addr);
    let said = run("wrk", &["-t1", "-c64", "-d1s", "--latency", &url]);
    assert!(said.contains("requests in"), "{said}");
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    let report = server.stop();
    // It ends its connections in the middle of requests, by a close with unread answers.
    assert!(report.counters.requests > 1000 && report.counters.refused == 0);
}
