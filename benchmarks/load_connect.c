/* The connection phase of load: a window of upgrades at a time, so that the server is never idle and its backlog never
 * full.
 *
 * Every connection sends the key of RFC 6455's example, whose answer the RFC states: it is checked without a SHA-1
 * here.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { HEAD_BYTES = 4096 };

static struct sockaddr_in server;
static int born, under_way, open_count;

static bool is_publisher(int number)
{
    return number >= options.subscribers;
}

static void begin_connection(int number)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (options.receive_buffer && !is_publisher(number))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options.receive_buffer, sizeof options.receive_buffer);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        die("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = number};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
    connections[number] = (struct connection){.fd = fd, .state = CONNECTING};
    under_way++;
}

static void send_request(int number)
{
    char request[1024];
    int error = 0, fd = connections[number].fd;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    errno = error;
    if (error)
        die("connect");
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                        "pubsub: %s\r\n\r\n",
                        options.topic, options.host, options.port, is_publisher(number) ? "publisher" : "subscriber");
    if (size >= (int)sizeof request || send(fd, request, size, MSG_NOSIGNAL) != size)
        die("request");
    connections[number].state = UPGRADING;
}

static void refused(const char *head)
{
    fprintf(stderr, "load: no upgrade: %.*s\n", (int)strcspn(head, "\r\n"), head);
    exit(2);
}

static void opened(int number)
{
    connections[number].state = OPEN;
    under_way--;
    open_count++;
    if (is_stalled(number))
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, connections[number].fd, NULL);
    else
        subscriber_read(number);        /* what came with the answer makes no edge of its own */
}

static void read_answer(int number)
{
    char head[HEAD_BYTES + 1];
    int fd = connections[number].fd;
    ssize_t got = recv(fd, head, HEAD_BYTES, MSG_PEEK);
    if (got < 0 && errno == EAGAIN)
        return;
    head[got > 0 ? got : 0] = 0;
    char *end = strstr(head, "\r\n\r\n");
    if (got <= 0)
        refused("the server closed the connection");
    if (!end)
        return;
    if (strncmp(head, "HTTP/1.1 101", 12) != 0 || !strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
        refused(head);
    recv(fd, head, end + 4 - head, 0);
    opened(number);
}

static void on_event(int number, uint32_t events)
{
    if (connections[number].state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
        send_request(number);
    if (connections[number].state == UPGRADING)
        read_answer(number);
    else if (connections[number].state == OPEN)
        subscriber_read(number);
}

void connect_all(void)
{
    int count = options.subscribers + options.publishers;
    struct epoll_event events[256];
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(options.port)};
    if (inet_pton(AF_INET, options.host, &server.sin_addr) != 1) {
        fprintf(stderr, "load: --host takes an IPv4 address, not %s\n", options.host);
        exit(2);
    }
    uint64_t start_ns = now_ns();
    while (open_count < count) {
        while (born < count && under_way < options.window)
            begin_connection(born++);
        int ready = epoll_wait(epoll_fd, events, 256, (int)(options.timeout * 1000));
        if (ready == 0)
            refused("no answer within --timeout");
        for (int i = 0; i < ready; i++)
            on_event(events[i].data.u32, events[i].events);
    }
    totals.connect_ns = now_ns() - start_ns;
}
