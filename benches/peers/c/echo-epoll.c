// Level-triggered epoll TCP echo, one shared 64 KiB read buffer; short writes are parked per fd. usage: echo-epoll PORT
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#define MAXFD 65536
static struct { char *p; size_t off, len; } pend[MAXFD];
static char buf[65536];
static void drop(int fd) { free(pend[fd].p); memset(&pend[fd], 0, sizeof pend[fd]); close(fd); }
int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 7000, one = 1;
    struct rlimit rl; getrlimit(RLIMIT_NOFILE, &rl); rl.rlim_cur = rl.rlim_max; setrlimit(RLIMIT_NOFILE, &rl);
    signal(SIGPIPE, SIG_IGN);
    int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, 4);
    setsockopt(l, IPPROTO_TCP, TCP_NODELAY, &one, 4);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(l, (void *)&a, sizeof a) || listen(l, 4096)) { perror("bind"); return 1; }
    puts("backend echo-epoll epoll"); fflush(stdout);
    int ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = l}, evs[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev);
    for (;;) {
        int n = epoll_wait(ep, evs, 512, -1);
        for (int k = 0; k < n; k++) {
            int fd = evs[k].data.fd;
            if (fd == l) {
                int c;
                while ((c = accept4(l, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    ev.events = EPOLLIN; ev.data.fd = c;
                    epoll_ctl(ep, EPOLL_CTL_ADD, c, &ev);
                }
                continue;
            }
            if (pend[fd].p) {
                ssize_t w = send(fd, pend[fd].p + pend[fd].off, pend[fd].len - pend[fd].off, 0);
                if (w < 0) { if (errno != EAGAIN) drop(fd); continue; }
                pend[fd].off += w;
                if (pend[fd].off < pend[fd].len) continue;
                free(pend[fd].p); memset(&pend[fd], 0, sizeof pend[fd]);
                ev.events = EPOLLIN; ev.data.fd = fd; epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
                continue;
            }
            ssize_t r = recv(fd, buf, sizeof buf, 0);
            if (r <= 0) { if (r == 0 || errno != EAGAIN) drop(fd); continue; }
            ssize_t w = send(fd, buf, r, 0);
            if (w < 0) { if (errno != EAGAIN) { drop(fd); continue; } w = 0; }
            if (w < r) {
                pend[fd].p = malloc(r - w); memcpy(pend[fd].p, buf + w, r - w); pend[fd].off = 0; pend[fd].len = r - w;
                ev.events = EPOLLOUT; ev.data.fd = fd; epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
            }
        }
    }
}
