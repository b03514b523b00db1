#!/bin/sh
# Mosquitto on 127.0.0.1, no persistence, no log. usage: mosquitto.sh PORT
cd "$(dirname "$0")/.." && . ./env.sh || exit 1
mkdir -p "$RUN/conf"
cat > "$RUN/conf/mosquitto.$1.conf" <<END
listener $1 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 100000
log_type none
END
echo backend mosquitto epoll
exec mosquitto -c "$RUN/conf/mosquitto.$1.conf"
