/* System calls on one connected, non-blocking stream socket.
 *
 * Results are bytes or -errno; interrupted calls (EINTR) are repeated here, EAGAIN is the caller's to handle.
 * Never raises SIGPIPE. Threads: one at a time per descriptor, the owning I/O thread.
 */
#ifndef FASTFAN_WIRE_H
#define FASTFAN_WIRE_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Non-blocking, close-on-exec, TCP_NODELAY, and at most `notsent_bytes` unsent in the kernel (0: leave it).
 * A socket that is not TCP (a Unix one) has the last two skipped; one that is no stream is -EPROTOTYPE. */
int wire_prepare(int fd, int notsent_bytes);

ssize_t wire_send(int fd, const struct iovec *parts, int count);
ssize_t wire_receive(int fd, void *buffer, size_t bytes);

/* Sends FIN; reading goes on. */
void wire_finish(int fd);
/* Ends both directions and closes: shutdown first, because a forked child may hold a copy of the descriptor. */
void wire_close(int fd);
/* Closes at once and throws away what the kernel still holds (RST, SO_LINGER 0), also where a forked child has a copy. */
void wire_reset(int fd);
/* Closes this process's copy; the connection is another's and goes on. */
void wire_abandon(int fd);

#endif
