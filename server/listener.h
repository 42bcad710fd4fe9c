/* The listening socket, and the small client that `wicara healthcheck` is. */
#ifndef WICARA_SERVER_LISTENER_H
#define WICARA_SERVER_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/error.h"

struct listener {
    int fd;
    uint16_t port;  // the real one, also when 0 was asked for
    bool loopback;  // reachable from this machine only
    bool ipv6;
};

/* host: an IP address or a name; errors name address and port. */
enum status listener_open(struct listener *listener, const char *host, uint16_t port,
                          struct error *err) MUST_CHECK;

/* GET /health of a server at host:port, within five seconds: OK when it answers 200. A wildcard
 * host is asked at loopback. Errors: ERR_IO saying what came instead. */
enum status health_probe(const char *host, uint16_t port, struct error *err) MUST_CHECK;

#endif
