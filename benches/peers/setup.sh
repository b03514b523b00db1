#!/bin/sh
# Builds the peers and makes what they need.
# usage: setup.sh [apt] [sockets] [more] [tls] [http] [quic] [app] [cert] [www] [c] [grpc] [js]      (default: sockets)
#   apt      the distribution's packages, for all peers
#   sockets  TCP and UDP peers, generators, and c       more  compio and glommio as well
#   tls      TLS peers, the C one with OpenSSL included, and cert
#   http     HTTP/1.1 servers
#   quic     QUIC servers and generators, and cert
#   app      HTTP, QUIC, WebSocket and gRPC peers, and cert, grpc, js
#   cert     a self-signed certificate (one that exists is kept)
#   www      files for HTTP servers
#   c        the C peer      grpc  a request body for h2load      js  the node peer
cd "$(dirname "$0")" && . ./env.sh || exit 1
set -e
for step in ${*:-sockets}; do
  case $step in
  apt)
    apt-get update
    apt-get install -y --no-install-recommends gcc util-linux strace valgrind openssl libssl-dev linux-perf wrk nginx nghttp2-client \
      mosquitto redis-server redis-tools protobuf-compiler cmake clang nodejs npm ;;
  sockets)
    cargo build --release --locked
    ./setup.sh c ;;
  more)
    cargo build --release --locked --workspace ;;
  tls)
    # by name, not among the default members: zero-io's TLS stays out of the TCP and UDP servers
    cargo build --release --locked -p loadgen -p tls-echo
    ${CC:-cc} -O2 -o "$B/tls-openssl" c/tls-openssl.c -lssl -lcrypto
    ./setup.sh cert ;;
  http)
    # by name, as with TLS: the feature stays out of the TCP and UDP servers
    cargo build --release --locked -p loadgen -p zero-http
    (cd app && cargo build --release --locked -p http-hyper -p http-actix -p http-ntex -p http-may) ;;
  quic)
    cargo build --release --locked -p zero-quic
    (cd app && cargo build --release --locked -p quic-quinn -p quic-s2n -p quic-quiche)
    ./setup.sh cert ;;
  app)
    cargo build --release --locked -p zero-quic
    (cd app && cargo build --release --locked)
    ./setup.sh cert grpc js ;;
  cert) # self-signed P-256
    mkdir -p "$PEER_CERT_DIR"
    [ -f "$PEER_CERT_DIR/key.pem" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
      -keyout "$PEER_CERT_DIR/key.pem" -out "$PEER_CERT_DIR/cert.pem" \
      -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 ;;
  www) # that many x each
    mkdir -p "$PEER_WWW"
    for kib in 16 64 1024; do
      [ -f "$PEER_WWW/${kib}k" ] || head -c $((kib * 1024)) /dev/zero | tr '\0' x > "$PEER_WWW/${kib}k"
    done ;;
  c)
    mkdir -p "$B"
    ${CC:-cc} -O2 -o "$B/echo-epoll" c/echo-epoll.c ;;
  grpc)
    app/grpc-tonic/mkbody.sh ;;
  js)
    mkdir -p "$RUN/js"
    cp app/ws-echo/js/* "$RUN/js/"
    (cd "$RUN/js" && npm install --silent) ;;
  *)
    echo "setup.sh: unknown step $step" >&2; exit 2 ;;
  esac
done
