/* The header gate; see http_gate.h. Everything here is a pure function of its arguments: no state,
 * no clock, no allocation, so each vector is a row of tests/server/http_gate_test.c. Checks run
 * from the outside in: request line, field syntax, framing, target, host, then what policy says. */
#include "server/http_gate.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool name_is(const struct http_field *field, const char *name)
{
    return strlen(name) == field->name_bytes &&
           strncasecmp(field->name, name, field->name_bytes) == 0;
}

const struct http_field *http_head_find(const struct http_head *head, const char *name)
{
    for (size_t i = 0; i < head->n_fields; i++) {
        if (name_is(&head->fields[i], name))
            return &head->fields[i];
    }
    return NULL;
}

static size_t count_fields(const struct http_head *head, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < head->n_fields; i++)
        n += name_is(&head->fields[i], name);
    return n;
}

static size_t fields_bytes(const struct http_head *head)
{
    size_t n = 0;
    for (size_t i = 0; i < head->n_fields; i++)
        n += head->fields[i].name_bytes + head->fields[i].value_bytes;
    return n;
}

static const char *check_fields(const struct http_head *head)
{
    for (size_t i = 0; i < head->n_fields; i++) {
        const struct http_field *field = &head->fields[i];
        if (field->name_bytes == 0)
            return "a header without a name";
        for (size_t at = 0; at < field->name_bytes; at++) {
            if (!is_token_char(field->name[at]))
                return "a header name holds a character that is not allowed";
        }
        for (size_t at = 0; at < field->value_bytes; at++) {
            unsigned char c = (unsigned char)field->value[at];
            if ((c < 0x20 && c != '\t') || c == 0x7f)
                return "a header value holds a control character";
        }
    }
    return NULL;
}

static const char *check_framing(const struct http_head *head, struct http_gate_result *out)
{
    size_t n_lengths = count_fields(head, "Content-Length");
    size_t n_codings = count_fields(head, "Transfer-Encoding");
    if (n_lengths > 1)
        return "more than one Content-Length";
    if (n_codings > 1)
        return "more than one Transfer-Encoding";
    if (n_lengths && n_codings)
        return "Content-Length and Transfer-Encoding together";
    if (n_codings) {
        const struct http_field *coding = http_head_find(head, "Transfer-Encoding");
        if (strcmp(head->version, "HTTP/1.1") != 0)
            return "Transfer-Encoding needs HTTP/1.1";
        if (coding->value_bytes != 7 || strncasecmp(coding->value, "chunked", 7) != 0)
            return "the only Transfer-Encoding here is chunked";
        out->chunked = true;
    }
    if (n_lengths) {
        const struct http_field *length = http_head_find(head, "Content-Length");
        if (length->value_bytes == 0 || length->value_bytes > 18)
            return "Content-Length is not a number";
        for (size_t i = 0; i < length->value_bytes; i++) {
            char c = length->value[i];
            if (c < '0' || c > '9')
                return "Content-Length is not a number";
            out->content_length = out->content_length * 10 + (uint64_t)(c - '0');
        }
        out->has_length = true;
    }
    return NULL;
}

/* Copies the host part without port and brackets. */
static bool host_name(const char *host, char out[HTTP_HOST_BYTES])
{
    size_t n = strlen(host);
    if (n == 0 || n >= HTTP_HOST_BYTES)
        return false;
    if (host[0] == '[') {
        const char *close = strchr(host, ']');
        if (!close)
            return false;
        n = (size_t)(close - host) - 1;
        memcpy(out, host + 1, n);
    } else {
        n = strcspn(host, ":");
        memcpy(out, host, n);
    }
    out[n] = '\0';
    return n > 0;
}

bool http_host_is_valid(const char *host)
{
    char name[HTTP_HOST_BYTES];
    if (!host_name(host, name))
        return false;
    const char *rest = host + strlen(name);
    if (host[0] == '[') {
        struct in6_addr address;
        if (inet_pton(AF_INET6, name, &address) != 1)
            return false;
        rest += 2;
    } else {
        for (const char *at = name; *at; at++) {
            bool plain = (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') ||
                         (*at >= 'A' && *at <= 'Z') || *at == '.' || *at == '-' || *at == '_';
            if (!plain)
                return false;
        }
    }
    if (*rest == '\0')
        return true;
    size_t digits = strspn(rest + 1, "0123456789");
    return *rest == ':' && digits <= 5 && rest[1 + digits] == '\0';
}

bool http_host_is_ours(const char *host, const struct http_policy *policy)
{
    char name[HTTP_HOST_BYTES];
    unsigned char address[16];
    if (!host_name(host, name))
        return false;
    if (host[0] == '[' || inet_pton(AF_INET, name, address) == 1)
        return true;  // an IP literal cannot be rebound
    size_t n = strlen(name);
    if (n > 1 && name[n - 1] == '.')
        name[n - 1] = '\0';
    if (strcasecmp(name, "localhost") == 0)
        return true;
    for (size_t i = 0; i < policy->n_hosts; i++) {
        if (strcasecmp(name, policy->hosts[i]) == 0)
            return true;
    }
    return false;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Path of the target, decoded; an absolute target's authority goes to out->host. */
static const char *read_target(const char *target, struct http_gate_result *out)
{
    if (strncasecmp(target, "http://", 7) == 0) {
        const char *authority = target + 7;
        size_t n = strcspn(authority, "/?#");
        if (n == 0 || n >= sizeof out->host)
            return "the request target has no host";
        memcpy(out->host, authority, n);
        out->host[n] = '\0';
        target = authority + n;
        if (*target == '\0')
            target = "/";
    }
    if (*target == '*' && target[1] == '\0') {
        memcpy(out->path, "*", 2);
        return NULL;
    }
    if (*target != '/')
        return "the request target must be a path";
    size_t n = 0;
    for (; *target && *target != '?'; target++) {
        unsigned char c = (unsigned char)*target;
        if (c == '%') {
            int high = hex_digit(target[1]);
            int low = high < 0 ? -1 : hex_digit(target[2]);
            if (low < 0)
                return "a broken percent-escape in the path";
            c = (unsigned char)(high * 16 + low);
            target += 2;
        } else if (c == '#') {
            return "a fragment in the request target";
        }
        if (c < 0x20 || c == 0x7f)
            return "a control character in the path";
        if (n + 1 >= sizeof out->path)
            return "the path is too long";
        out->path[n++] = (char)c;
    }
    out->path[n] = '\0';
    return NULL;
}

static const char *check_host(const struct http_head *head, struct http_gate_result *out)
{
    const struct http_field *host = http_head_find(head, "Host");
    if (count_fields(head, "Host") > 1)
        return "more than one Host";
    if (!host || host->value_bytes == 0 || host->value_bytes >= sizeof out->host)
        return "a Host header is required";
    bool absolute = out->host[0] != '\0';  // its authority wins, RFC 9112 section 3.2.2
    char name[HTTP_HOST_BYTES];
    memcpy(name, host->value, host->value_bytes);
    name[host->value_bytes] = '\0';
    if (!http_host_is_valid(name) || (absolute && !http_host_is_valid(out->host)))
        return "the Host header is not a host";
    if (!absolute)
        memcpy(out->host, name, sizeof name);
    return NULL;
}

/* A page of another site may not make a loopback server work, even blindly. */
static bool origin_is_allowed(const struct http_head *head, const struct http_policy *policy,
                              struct http_gate_result *out)
{
    const struct http_field *origin = http_head_find(head, "Origin");
    if (!origin)
        return true;
    for (size_t i = 0; i < policy->n_origins; i++) {
        const char *allowed = policy->origins[i];
        if (strcmp(allowed, "*") == 0 ||
            (strlen(allowed) == origin->value_bytes &&
             strncasecmp(allowed, origin->value, origin->value_bytes) == 0)) {
            out->cors_origin = allowed;
            return true;
        }
    }
    if (!policy->loopback)
        return true;  // no CORS header is sent, and JSON bodies need a preflight
    char value[HTTP_HOST_BYTES + 16];
    if (origin->value_bytes >= sizeof value)
        return false;
    memcpy(value, origin->value, origin->value_bytes);
    value[origin->value_bytes] = '\0';
    const char *host = strncmp(value, "http://", 7) == 0    ? value + 7
                       : strncmp(value, "https://", 8) == 0 ? value + 8
                                                            : NULL;
    if (!host)
        return false;
    if (strcasecmp(host, out->host) == 0)
        return true;
    char name[HTTP_HOST_BYTES];
    if (!http_host_is_valid(host) || !host_name(host, name))
        return false;
    for (size_t i = 0; i < policy->n_hosts; i++) {
        if (strcasecmp(name, policy->hosts[i]) == 0)
            return true;
    }
    return false;
}

int http_gate_check(const struct http_head *head, const struct http_policy *policy,
                    struct http_gate_result *out, const char **why)
{
    memset(out, 0, sizeof *out);
    *why = "the request line is not valid";
    for (const char *at = head->method; *at; at++) {
        if (*at < 'A' || *at > 'Z')
            return 400;
    }
    if (head->method[0] == '\0')
        return 400;
    *why = "only HTTP/1.0 and HTTP/1.1 are spoken here";
    if (strcmp(head->version, "HTTP/1.1") != 0 && strcmp(head->version, "HTTP/1.0") != 0)
        return 400;
    *why = "too many header fields, or too large ones";
    if (head->n_fields > HTTP_FIELDS_MAX || fields_bytes(head) > HTTP_FIELDS_BYTES_MAX)
        return 431;
    *why = "CONNECT is not available";
    if (strcmp(head->method, "CONNECT") == 0)
        return 405;
    const char *fault = check_fields(head);
    if (!fault)
        fault = check_framing(head, out);
    if (!fault)
        fault = read_target(head->target, out);
    if (!fault)
        fault = check_host(head, out);
    if (fault) {
        *why = fault;
        return 400;
    }
    const struct http_field *expect = http_head_find(head, "Expect");
    *why = "the only expectation met here is 100-continue";
    if (expect &&
        (expect->value_bytes != 12 || strncasecmp(expect->value, "100-continue", 12) != 0))
        return 417;
    *why = "this Host is not served here; name it with --allowed-host if it is yours";
    if (policy->loopback && !http_host_is_ours(out->host, policy))
        return 403;
    *why = "pages of this Origin may not use this server; allow it with --cors-origin";
    if (!origin_is_allowed(head, policy, out) && strcmp(head->method, "GET") != 0 &&
        strcmp(head->method, "HEAD") != 0)
        return 403;
    *why = NULL;
    return 0;
}
