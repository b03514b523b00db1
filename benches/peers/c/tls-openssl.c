// TLS echo: epoll and OpenSSL's libssl, one thread, level-triggered.   usage: tls-openssl PORT
// Set up as nginx does it, but for reading ahead, which saves it one read(2) per record.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define ECHO_MAX 16384

struct conn { SSL *ssl; int fd; int len; char data[]; };

static int ep;
static char shared[ECHO_MAX];

static void fail(const char *what) { perror(what); exit(1); }

static SSL_CTX *context(void) {
	const char *dir = getenv("PEER_CERT_DIR");
	char cert[4096], key[4096];
	snprintf(cert, sizeof cert, "%s/cert.pem", dir ? dir : "run/cert");
	snprintf(key, sizeof key, "%s/key.pem", dir ? dir : "run/cert");
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	if (SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 || SSL_CTX_set1_groups_list(ctx, "X25519") != 1 ||
	    SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 || SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		fprintf(stderr, "tls-openssl: %s, %s or a setting refused\n", cert, key);
		exit(1);
	}
	return ctx;
}

// What it leaves in the queue of errors would be taken for the next connection's.
static void drop(struct conn *c) { ERR_clear_error(); SSL_free(c->ssl); close(c->fd); free(c); }

static void watch(struct conn *c, uint32_t events) {
	struct epoll_event e = {.events = events, .data.ptr = c};
	if (epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e)) fail("epoll_ctl");
}

// Echoes until it would block. What could not be written is kept behind the connection.
static void turn(struct conn *c) {
	for (;;) {
		char *data = shared;
		int n = c->len ? c->len : SSL_read(c->ssl, shared, ECHO_MAX);
		if (n <= 0) {
			if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ) drop(c);
			return;
		}
		if (c->len) data = c->data;
		int w = SSL_write(c->ssl, data, n);
		if (w == n) {
			if (c->len) watch(c, EPOLLIN);
			c->len = 0;
			continue;
		}
		if (SSL_get_error(c->ssl, w) != SSL_ERROR_WANT_WRITE) { drop(c); return; }
		if (!c->len) {
			struct conn *grown = realloc(c, sizeof *c + ECHO_MAX);
			if (!grown) fail("realloc");
			c = grown;
			__builtin_memcpy(c->data, shared, n);
			c->len = n;
			watch(c, EPOLLOUT);
		}
		return;
	}
}

int main(int argc, char **argv) {
	signal(SIGPIPE, SIG_IGN);
	struct rlimit rl;
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	SSL_CTX *ctx = context();
	int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 7000)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(l, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); // accepted sockets inherit it
	if (bind(l, (struct sockaddr *)&a, sizeof a) || listen(l, 4096)) fail("listen");
	if ((ep = epoll_create1(0)) < 0) fail("epoll_create1");
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
	epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
	puts("backend tls-openssl epoll");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, events, 256, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr) { turn(events[i].data.ptr); continue; }
			int fd;
			while ((fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
				struct conn *c = calloc(1, sizeof *c);
				c->fd = fd;
				c->ssl = SSL_new(ctx);
				SSL_set_fd(c->ssl, fd);
				SSL_set_accept_state(c->ssl);
				struct epoll_event in = {.events = EPOLLIN, .data.ptr = c};
				if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &in)) fail("epoll_ctl");
			}
		}
	}
}
