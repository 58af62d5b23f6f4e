#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* a system that has SO_NOSIGPIPE in its place */
#endif

static int set_option(int fd, int level, int name, int value) {
    if (setsockopt(fd, level, name, &value, sizeof value) == 0) return 0;
    /* Not a TCP socket, or a system without the option: nothing to set. */
    if (errno == EOPNOTSUPP || errno == ENOPROTOOPT || errno == ENOTSUP) return 0;
    return -errno;
}

int wire_prepare(int fd, int notsent_bytes) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -errno;
    int type = 0;
    socklen_t type_size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) < 0) return -errno;
    if (type != SOCK_STREAM) return -EPROTOTYPE;
    int result = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
#ifdef SO_NOSIGPIPE
    if (result == 0) result = set_option(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
#ifdef TCP_NOTSENT_LOWAT
    if (result == 0 && notsent_bytes > 0) result = set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, notsent_bytes);
#else
    (void)notsent_bytes;
#endif
    return result;
}

ssize_t wire_send(int fd, const struct iovec *parts, int count) {
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = (struct iovec *)parts;
    message.msg_iovlen = (size_t)count;
    for (;;) {
        /* One part is by far the most frequent; the kernel copies no message header for it. */
        ssize_t sent = count == 1 ? send(fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                                  : sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) return sent;
        if (errno != EINTR) return -errno;
    }
}

ssize_t wire_receive(int fd, void *buffer, size_t bytes) {
    for (;;) {
        ssize_t got = recv(fd, buffer, bytes, MSG_DONTWAIT);
        if (got >= 0) return got;
        if (errno != EINTR) return -errno;
    }
}

void wire_finish(int fd) { shutdown(fd, SHUT_WR); }

void wire_close(int fd) {
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

void wire_abandon(int fd) { close(fd); }

void wire_reset(int fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
#ifdef __linux__
    /* close() alone does nothing yet where a forked child has a copy of the descriptor. This resets a TCP connection at
     * once, connect(2): "AF_UNSPEC dissolves the association"; for others there is shutdown(). */
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    if (connect(fd, &nobody, sizeof nobody) < 0) shutdown(fd, SHUT_RDWR);
#endif
    close(fd);
}
