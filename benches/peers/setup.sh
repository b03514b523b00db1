#!/bin/sh
# Makes what the peers need besides `cargo build`: certificate, C peer, gRPC request body, node peer.
# usage: setup.sh [cert] [c] [grpc] [js]      (default: all four; a certificate that exists is kept)
cd "$(dirname "$0")" && . ./env.sh || exit 1
set -e
for step in ${*:-cert c grpc js}; do
  case $step in
  cert) # self-signed P-256
    mkdir -p "$PEER_CERT_DIR"
    [ -f "$PEER_CERT_DIR/key.pem" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
      -keyout "$PEER_CERT_DIR/key.pem" -out "$PEER_CERT_DIR/cert.pem" \
      -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 ;;
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
