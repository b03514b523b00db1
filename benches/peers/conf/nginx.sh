#!/bin/sh
# One-process nginx: plain HTTP/1.1, the same over TLS, or HTTP/2 over TLS. It answers "Hello, World!", at /json 1 KiB that
# it knows, at /body 1 MiB and in /files/ 16k, 64k and 1024k, from files. usage: nginx.sh PORT [tls|h2]
cd "$(dirname "$0")/.." && . ./env.sh || exit 1
listen= tls=
if [ "$2" ]; then
  listen=" ssl"
  tls="ssl_certificate $PEER_CERT_DIR/cert.pem; ssl_certificate_key $PEER_CERT_DIR/key.pem; ssl_protocols TLSv1.3;"
fi
case $2 in
h2) listen="$listen http2"; tls="$tls http2_max_concurrent_streams 1024;" ;;
tls) tls="$tls ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_ecdh_curve X25519;" ;;
esac
mkdir -p "$RUN/conf" "$RUN/nginx"
./setup.sh www
sed -e "s|@KIB@|$(head -c 1024 /dev/zero | tr '\0' x)|" -e "s|@PORT@|$1|g" -e "s|@LISTEN@|$listen|" -e "s|@TLS@|$tls|" conf/nginx.conf.in > "$RUN/conf/nginx.$1.conf"
echo backend nginx epoll
exec nginx -e stderr -p "$RUN/" -c "$RUN/conf/nginx.$1.conf"
