/* Upgrades: a window of them at a time, so that the server is never idle and its backlog never full.
 *
 * Every connection sends the key of RFC 6455's example (section 1.3), whose answer the RFC states: it is checked without
 * a SHA-1 here.
 */
#include "inside.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_BYTES = 8192, REQUEST_BYTES = 8192 };

#define ACCEPT_OF_THE_EXAMPLE "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* While all are being connected a failure ends it; later it is a visit that failed. */
static void failed(struct load *l, int number, const char *what, int error) {
    struct connection *connection = &l->connections[number];
    if (l->report.step == LOAD_CONNECTING) {
        load_fail(l, what, error);
        l->refused = true;
    }
    l->report.failed_visits += connection->kind == VISITOR;
    l->under_way -= connection->state == CONNECTING || connection->state == UPGRADING;
    shut(l, connection);
    connection->state = GONE;
}

bool begin_connection(struct load *l, int number) {
    struct connection *connection = &l->connections[number];
    const int one = 1, receive_buffer = l->plan.receive_buffer_bytes;
    int fd = socket(l->server.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connection->fd = fd;
    connection->begun_ns = clock_ns();
    if (fd < 0) return failed(l, number, "no socket", errno), false;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (receive_buffer && !is_publisher(l, number))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    int result = connect(fd, (struct sockaddr *)&l->server, l->server_bytes) < 0 && errno != EINPROGRESS ? -errno : 0;
    if (result == 0) result = poller_add(&l->poller, fd, (uint64_t)number);
    if (result < 0) return failed(l, number, "cannot connect", -result), false;
    connection->state = CONNECTING;
    l->under_way++;
    return true;
}

static void send_request(struct load *l, int number) {
    const struct load_plan *plan = &l->plan;
    struct connection *connection = &l->connections[number];
    char request[REQUEST_BYTES], topic[16] = "";
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) return failed(l, number, "cannot connect", error);
    if (plan->topics > 1) snprintf(topic, sizeof topic, "/%u", connection->topic);
    int size = snprintf(request, sizeof request,
                        "GET %s%s%s HTTP/1.1\r\n%sUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\npubsub: %s\r\n\r\n",
                        plan->path, topic, plan->query, plan->headers,
                        is_publisher(l, number) ? "publisher" : "subscriber");
    if (size >= REQUEST_BYTES) return failed(l, number, "the request's head is over 8192 bytes", 0);
    if (send(connection->fd, request, (size_t)size, MSG_NOSIGNAL) != size)
        return failed(l, number, "cannot send the request", errno);
    connection->state = UPGRADING;
}

/* The status line, and the first line of a short text that came with it. */
static void refused(struct load *l, int number, const char *head, const char *body) {
    char text[256];
    snprintf(text, sizeof text, "no upgrade: %.*s%s%.*s", (int)strcspn(head, "\r\n"), head, *body ? ": " : "",
             (int)strcspn(body, "\r\n"), body);
    /* It may end up on a terminal. */
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
    failed(l, number, text, 0);
}

static void opened(struct load *l, int number) {
    struct connection *connection = &l->connections[number];
    connection->state = OPEN;
    l->under_way--;
    l->report.connections++;
    histogram_record(&l->report.upgrade, clock_ns() - connection->begun_ns);
    if (connection->kind == STALLED || connection->kind == SLOW)
        poller_remove(&l->poller, connection->fd);
    else
        subscriber_read(l, number, true);   /* what came with the answer makes no edge of its own */
}

static void read_answer(struct load *l, int number, bool at_end) {
    char head[HEAD_BYTES + 1];
    int fd = l->connections[number].fd;
    ssize_t got = recv(fd, head, HEAD_BYTES, MSG_PEEK);
    int error = errno;
    poller_rearm(&l->poller, fd, READY_READ);
    if (got < 0 && error == EAGAIN) return;
    if (got <= 0) return failed(l, number, "the server closed the connection in place of an answer", got ? error : 0);
    head[got] = 0;
    char *end = strstr(head, "\r\n\r\n");
    if (!end && got == HEAD_BYTES) return refused(l, number, head, "its head is over 8192 bytes");
    if (strncmp(head, "HTTP/1.", got < 7 ? (size_t)got : 7) != 0) return refused(l, number, head, "this is no HTTP/1.1");
    if (!end && at_end) return refused(l, number, head, "the server closed the connection within its answer");
    if (!end) return;
    if (strncmp(head, "HTTP/1.1 101", 12) != 0) return refused(l, number, head, end + 4);
    if (!strstr(head, ACCEPT_OF_THE_EXAMPLE)) return refused(l, number, head, "without the right Sec-WebSocket-Accept");
    recv(fd, head, (size_t)(end + 4 - head), 0);
    opened(l, number);
}

void connection_ready(struct load *l, int number, uint32_t ready) {
    struct connection *connection = &l->connections[number];
    if (connection->state == CONNECTING && (ready & READY_WRITE)) send_request(l, number);
    if (connection->state == UPGRADING && (ready & READY_READ))
        read_answer(l, number, ready & READY_HANGUP);
}
