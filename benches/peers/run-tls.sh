#!/bin/sh
# TLS 1.3, TLS_AES_128_GCM_SHA256, X25519, P-256: zero-io against tokio-rustls, OpenSSL and nginx. Duel mode; then memory of
# idle connections, and the cipher's share. usage: run-tls.sh [heats] [seconds of each server in a heat] [label glob]
cd "$(dirname "$0")" && . ./env.sh || exit 1
R=${1:-5}; T=${2:-1.8}; ONLY=${3:-${ONLY:-*}}; SLICES=$(awk "BEGIN { print int($T / 0.03) }")
./setup.sh cert || exit 1
wanted() { case $1 in $ONLY) ;; *) return 1 ;; esac; }
duel() { # label, generator, servers
  wanted "$1" || return
  lab=$1; load=$2; shift 2
  ./bench.sh --mode duel --label "$lab" --heats "$R" --slices "$SLICES" --subject zero "$@" --gen "$load"
}
ping() { # label, size
  duel "$1" "$B/loadgen --tls --port {port} --conns 64 --size $2" --server "zero*=$B/tls-zero {port}" \
    --server "tokio-rustls*=$B/tls-tokio {port}" --server "openssl=$B/tls-openssl {port}"
}
handshakes() { # label, generator arguments
  duel "$1" "$B/loadgen --proto tls-hs --port {port} --conns 32 $2" --server "zero*=$B/tls-zero {port}" \
    --server "tokio-rustls*=$B/tls-tokio {port}" --server "openssl=$B/tls-openssl {port}"
}
ping tls-echo-1K-c64 1024
ping tls-echo-16K-c64 16384
handshakes tls-hs-full
handshakes tls-hs-resumed --resume
# 16 KiB answers to small requests. nginx speaks HTTP and has a file, zero-io knows one answer: no race between equals
duel tls-answer-16K-c64 "$B/loadgen --tls --proto http --path /files/16k --port {port} --conns 64" \
  --server "zero*=$B/tls-zero {port} answer=16384" --server "nginx=conf/nginx.sh {port} tls"
if wanted tls-idle; then
  ./bench.sh --mode idle --label tls-idle --server "zero=$B/tls-zero {port}" --server "tokio-rustls=$B/tls-tokio {port}" \
    --server "openssl=$B/tls-openssl {port}" --gen "$B/loadgen --tls --size 64 --port {port} --conns 10000 --hold 3"
fi
if wanted tls-share; then
  python3 cipher-share.py 16384 "$B/tls-zero" "$B/tls-tokio"
fi
