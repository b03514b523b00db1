//! HTTPS: the same behind TLS, with curl as the client.

use std::process::Command;

use zero_io::{
    Config, ConnTimeouts, EndpointId, Event, HttpListenConfig, Io, TcpListenConfig,
    TlsServerConfig, UdsListenConfig, ZeroResponse,
};

use crate::kit::pattern;

fn tls() -> TlsServerConfig {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    TlsServerConfig::from_pem_bytes(cert, key).alpn(["http/1.1"]).build().unwrap()
}

/// Serves until the commands are done; what each wrote.
fn ask(commands: Vec<Vec<String>>) -> Vec<Vec<u8>> {
    let config = HttpListenConfig::new(TcpListenConfig::new("127.0.0.1:0".parse().unwrap()));
    ask_with(|io| io.http_listen_tls_with(config, tls()).unwrap(), commands)
}

/// The same on that listener.
fn ask_with(
    listen: impl FnOnce(&mut Io) -> EndpointId,
    commands: Vec<Vec<String>>,
) -> Vec<Vec<u8>> {
    let mut io = Io::new(Config::default().with(|c| c.debug.audit_every_tick = true)).unwrap();
    let endpoint = listen(&mut io);
    let addr = io.local_addr(endpoint).unwrap();
    let client = std::thread::spawn(move || {
        let outputs = commands.into_iter().map(|args| {
            let args = args.into_iter().map(|arg| arg.replace("BASE", &format!("https://{addr}")));
            let output =
                Command::new("curl").args(["-ksS", "--max-time", "20"]).args(args).output();
            let output = output.expect("curl is installed: `cargo xtask setup`");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{told}");
            output.stdout
        });
        outputs.collect::<Vec<_>>()
    });
    let big = pattern(3 << 20);
    while !client.is_finished() {
        io.poll(std::time::Duration::from_millis(5)).unwrap();
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { alpn, .. } => assert!(alpn.is_none_or(|p| p == b"http/1.1")),
                Event::HttpRequest { conn, id, request } => {
                    let answer = match request.path() {
                        "/big" => ZeroResponse::ok().bytes(&big),
                        "/static" => ZeroResponse::ok().static_bytes(&[7; 50_000]),
                        _ if request.body_follows() => ZeroResponse::ok().stream(),
                        _ if !request.body().is_empty() => ZeroResponse::ok().bytes(request.body()),
                        _ => ZeroResponse::ok().text("sealed"),
                    };
                    sender.http_respond(conn, id, answer).unwrap();
                }
                Event::HttpBodyChunk { conn, id, data, last } => {
                    sender.http_forward(conn, id, data).unwrap();
                    if last {
                        sender.http_finish(conn, id).unwrap();
                    }
                }
                _ => {}
            }
        }
    }
    client.join().unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_socket_that_listens_already() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = HttpListenConfig::new(ConnTimeouts::default());
    let listen = |io: &mut Io| io.adopt_http_listener_tls(socket.into(), config, tls()).unwrap();
    assert_eq!(ask_with(listen, vec![words("BASE/ BASE/")]), [b"sealedsealed"]);
}

#[test]
fn https_is_http_behind_tls() {
    let upload = std::env::temp_dir().join(format!("zero-io-upload-{}", std::process::id()));
    std::fs::write(&upload, pattern(400_000)).unwrap();
    let file = upload.display();
    let outputs = ask(vec![
        words("BASE/ BASE/ BASE/"),
        words("BASE/big"),
        words("BASE/static"),
        words("--tls-max 1.2 -d short BASE/"),
        words(&format!("--data-binary @{file} BASE/")),
        words(&format!("-H Transfer-Encoding:chunked --data-binary @{file} BASE/")),
        words("-I BASE/big"),
    ]);
    std::fs::remove_file(&upload).unwrap();
    assert_eq!(outputs[0], b"sealedsealedsealed");
    assert!(outputs[1] == pattern(3 << 20) && outputs[2] == [7; 50_000]);
    assert_eq!(outputs[3], b"short");
    assert!(outputs[4] == pattern(400_000) && outputs[5] == pattern(400_000));
    let head = String::from_utf8_lossy(&outputs[6]).into_owned();
    assert!(head.contains("Content-Length: 3145728\r\n"), "{head}");
}

#[test]
fn plaintext_tls_and_a_unix_socket_on_one_io() {
    let mut io = Io::new(Config::default().with(|c| c.debug.audit_every_tick = true)).unwrap();
    let tcp = || TcpListenConfig::new("127.0.0.1:0".parse().unwrap());
    let path = std::env::temp_dir().join(format!("zero-io-kinds-{}.sock", std::process::id()));
    let uds = HttpListenConfig::new(UdsListenConfig::new(&path));
    let endpoints = [
        io.http_listen_with(HttpListenConfig::new(tcp())).unwrap(),
        io.http_listen_tls_with(HttpListenConfig::new(tcp()), tls()).unwrap(),
        io.http_listen_with(uds).unwrap(),
    ];
    let [plain, sealed] = [0, 1].map(|i| io.local_addr(endpoints[i]).unwrap().inet().unwrap());
    let unix = path.display().to_string();
    let client = std::thread::spawn(move || {
        let rows = [
            vec![format!("http://{plain}/"), format!("http://{plain}/")],
            vec![format!("https://{sealed}/")],
            vec!["--unix-socket".to_owned(), unix, "http://any/".to_owned()],
            // What is sent to the wrong one is answered by nobody.
            vec![format!("https://{plain}/")],
            vec![format!("http://{sealed}/")],
        ];
        rows.map(|args| {
            let output =
                Command::new("curl").args(["-ksS", "--max-time", "20"]).args(args).output();
            output.expect("curl is installed: `cargo xtask setup`").stdout
        })
    });
    while !client.is_finished() {
        io.poll(std::time::Duration::from_millis(5)).unwrap();
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if let Event::HttpRequest { conn, id, .. } = event {
                sender.http_respond(conn, id, ZeroResponse::ok().text("one ")).unwrap();
            }
        }
    }
    let said = client.join().unwrap();
    assert_eq!(said[..3], [b"one one ".to_vec(), b"one ".to_vec(), b"one ".to_vec()]);
    assert!(said[3].is_empty() && !String::from_utf8_lossy(&said[4]).contains("one"));
    let requests = endpoints.map(|endpoint| io.http_counters(endpoint).unwrap().requests);
    assert_eq!(requests, [2, 1, 1], "each has figures of its own");
    assert_eq!(io.http_counters(endpoints[0]).unwrap().refused, 1, "a ClientHello is no request");
    std::fs::remove_file(path).unwrap();
}
