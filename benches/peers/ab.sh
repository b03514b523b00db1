#!/bin/sh
# Ways of writing a bare echo loop, compared inside one process (tcp-echo/src/bin/echo-ab.rs, udp-echo/src/bin/udp-ab.rs).
# usage: ab.sh tcp CONNS SIZE DEPTH NBUFS BUFSZ MODE MODE...      ab.sh udp CONNS SIZE DEPTH NBUFS MODE MODE...
cd "$(dirname "$0")" && . ./env.sh || exit 1
kind=$1 conns=$2 size=$3 depth=$4; shift 4
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
case $kind in tcp) bin=echo-ab proto=echo ;; udp) bin=udp-ab proto=udp ;; *) echo "ab.sh: tcp or udp" >&2; exit 2 ;; esac
rt=; [ "${FIFO:-0}" = 0 ] || rt="chrt -f $FIFO"
echo "### $kind, $conns x $size B, depth $depth: $bin PORT $*"
$rt taskset -c 0 "$B/$bin" "$port" "$@" & server=$!
sleep 0.2
# ends when the server does: a reset (TCP), or by the time limit (UDP)
timeout 60 $rt taskset -c 1 "$B/loadgen" --proto $proto --port "$port" --conns "$conns" --size "$size" --depth "$depth" \
  --warm 0 --secs 55 > /dev/null 2>&1 & load=$!
wait $server
kill $load 2> /dev/null
