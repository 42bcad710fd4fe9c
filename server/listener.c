/* Binding, and the health probe; see listener.h. Socket options set here are inherited by accepted
 * connections: a peer that vanishes without a FIN is noticed by keep-alive probes or, while data is
 * in flight, after TCP_USER_TIMEOUT. */
#include "server/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static void set_option(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);  // a nicety: failure changes nothing
}

static struct addrinfo *resolve(const char *host, uint16_t port, int flags, struct error *err)
{
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_flags = flags | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int fault = getaddrinfo(host, service, &hints, &list);
    if (fault == 0)
        return list;
    enum status status =
        error_set(err, ERR_INVALID, "--host %.100s: %s", host, gai_strerror(fault));
    (void)status;
    return NULL;
}

enum status listener_open(struct listener *listener, const char *host, uint16_t port,
                          struct error *err)
{
    *listener = (struct listener){.fd = -1};
    struct addrinfo *list = resolve(host, port, AI_PASSIVE, err);
    if (!list)
        return err->status;
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
        if (list->ai_family == AF_INET6)
            set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    }
    struct sockaddr_storage bound;
    socklen_t bound_bytes = sizeof bound;
    enum status status = OK;
    if (fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &bound_bytes) != 0) {
        status =
            error_set(err, ERR_IO, "cannot listen on %s port %u: %s%s", host, (unsigned)port,
                      strerror(errno), errno == EADDRINUSE ? "; choose another with --port" : "");
    }
    freeaddrinfo(list);
    if (status != OK) {
        if (fd >= 0)
            close(fd);
        return status;
    }
    listener->fd = fd;
    listener->loopback = is_loopback((struct sockaddr *)&bound);
    listener->ipv6 = bound.ss_family == AF_INET6;
    listener->port = ntohs(listener->ipv6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                          : ((struct sockaddr_in *)&bound)->sin_port);
    return OK;
}

enum status health_probe(const char *host, uint16_t port, struct error *err)
{
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        host = strcmp(host, "::") == 0 ? "::1" : "127.0.0.1";
    struct addrinfo *list = resolve(host, port, 0, err);
    if (!list)
        return err->status;
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 5};
    char reply[512] = "";
    static const char request[] =
        "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    ssize_t n = -1;
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(fd, list->ai_addr, list->ai_addrlen) == 0 &&
            send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1)
            n = recv(fd, reply, sizeof reply - 1, 0);
    }
    int fault = errno;
    freeaddrinfo(list);
    if (fd >= 0)
        close(fd);
    if (n <= 0) {
        return error_set(err, ERR_IO, "%s port %u: %s", host, (unsigned)port,
                         n < 0 ? strerror(fault) : "closed without an answer");
    }
    reply[n] = '\0';
    if (strncmp(reply, "HTTP/1.1 200 ", 13) == 0)
        return OK;
    return error_set(err, ERR_IO, "not ready: %.*s", (int)strcspn(reply, "\r\n"), reply);
}
