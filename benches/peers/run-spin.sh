#!/bin/sh
# One connection, request and response, a generator that never sleeps: what spinning saves, over TCP and over UDP. The first
# server of each sleeps; its p50 is what the others are compared with. Then CPU of an idle second, and of a message beside
# idle connections.
# usage: run-spin.sh [rounds] [secs]
cd "$(dirname "$0")" && . ./env.sh || exit 1
R=${1:-7}; T=${2:-0.4}
set -- --server "zero-asleep*=$B/echo-zero {port} spin=off" --server "zero-auto*=$B/echo-zero {port} spin=auto" \
  --server "zero-always*=$B/echo-zero {port} spin=always" --server "bare-busypoll*=$B/echo-uring {port} 1024 4096 p"
[ "$ZERO_IO_PEERS" != all ] || set -- "$@" --server "mio*=$B/echo-mio {port}" --server "tokio*=$B/echo-tokio {port} 4096"
./bench.sh --latency --label spin-64B-c1 --rounds "$R" "$@" \
  --gen "$B/loadgen --port {port} --conns 1 --size 64 --depth 1 --warm 0.1 --secs $T --spin"
set -- --server "zero-asleep*=$B/udp-zero {port} spin=off" --server "zero-auto*=$B/udp-zero {port} spin=auto" \
  --server "zero-always*=$B/udp-zero {port} spin=always"
[ "$ZERO_IO_PEERS" != all ] || set -- "$@" --server "mio*=$B/udp-mio {port}" --server "tokio*=$B/udp-tokio {port}"
./bench.sh --udp --latency --label spin-udp-64B-c1 --rounds "$R" "$@" \
  --gen "$B/loadgen --proto udp --port {port} --conns 1 --size 64 --depth 1 --warm 0.1 --secs $T --spin"
python3 idle.py "$R"
