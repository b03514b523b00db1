#!/bin/sh
# One-process nginx answering "Hello, World!": plain HTTP/1.1, or HTTP/2 over TLS. usage: nginx.sh PORT [h2]
cd "$(dirname "$0")/.." && . ./env.sh || exit 1
listen= tls=
if [ "$2" = h2 ]; then
  listen=" ssl http2"
  tls="ssl_certificate $PEER_CERT_DIR/cert.pem; ssl_certificate_key $PEER_CERT_DIR/key.pem; ssl_protocols TLSv1.3; http2_max_concurrent_streams 1024;"
fi
mkdir -p "$RUN/conf" "$RUN/nginx"
sed -e "s|@PORT@|$1|g" -e "s|@LISTEN@|$listen|" -e "s|@TLS@|$tls|" conf/nginx.conf.in > "$RUN/conf/nginx.$1.conf"
echo backend nginx epoll
exec nginx -e stderr -p "$RUN/" -c "$RUN/conf/nginx.$1.conf"
