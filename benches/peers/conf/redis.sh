#!/bin/sh
# redis-server on 127.0.0.1, no persistence. usage: redis.sh PORT
cd "$(dirname "$0")/.." && . ./env.sh || exit 1
echo backend redis epoll
exec redis-server --port "$1" --bind 127.0.0.1 --dir "$RUN" --save '' --appendonly no --daemonize no --loglevel warning
