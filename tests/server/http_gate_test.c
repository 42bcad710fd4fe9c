/* The header gate over parsed heads: each smuggling vector by itself, hosts, origins, targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>

#include "server/http_gate.h"

struct pair {
    const char *name, *value;
};

static const struct http_policy loopback = {.loopback = true};

static int gate(const char *method, const char *target, const char *version,
                const struct pair *pairs, const struct http_policy *policy,
                struct http_gate_result *out)
{
    struct http_field fields[HTTP_FIELDS_MAX + 8];
    size_t n = 0;
    for (; pairs[n].name; n++) {
        fields[n] = (struct http_field){pairs[n].name, strlen(pairs[n].name), pairs[n].value,
                                        strlen(pairs[n].value)};
    }
    struct http_head head = {method, version, target, fields, n};
    const char *why;
    int status = http_gate_check(&head, policy, out, &why);
    assert_true((status == 0) == (why == NULL));
    return status;
}

#define GATE(...)                                                                                  \
    gate("POST", "/x", "HTTP/1.1", (const struct pair[]){__VA_ARGS__, {NULL, NULL}}, &loopback,    \
         &result)
#define HOST                                                                                       \
    {                                                                                              \
        "Host", "localhost"                                                                        \
    }

static void framing(void **state)
{
    (void)state;
    struct http_gate_result result;
    assert_int_equal(GATE(HOST, {"Content-Length", "5"}), 0);
    assert_true(result.has_length && result.content_length == 5 && !result.chunked);
    assert_int_equal(GATE(HOST, {"transfer-encoding", "Chunked"}), 0);
    assert_true(result.chunked && !result.has_length);
    assert_int_equal(GATE(HOST, {"Content-Length", "5"}, {"content-length", "5"}), 400);
    assert_int_equal(GATE(HOST, {"Content-Length", "5"}, {"Transfer-Encoding", "chunked"}), 400);
    assert_int_equal(GATE(HOST, {"Content-Length ", "5"}), 400);
    assert_int_equal(GATE(HOST, {"Content-Length\t", "5"}), 400);
    assert_int_equal(GATE(HOST, {"", "5"}), 400);
    assert_int_equal(GATE(HOST, {"A(b)", "5"}), 400);
    static const char *const lengths[] = {
        "", "+5", "-5", " 5", "5 ", "0x5", "5,5", "5.0", "1234567890123456789"};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        assert_int_equal(GATE(HOST, {"Content-Length", lengths[i]}), 400);
    assert_int_equal(GATE(HOST, {"Content-Length", "999999999999999999"}), 0);
    static const char *const codings[] = {"",         "gzip",     "chunked, chunked", "chunked ",
                                          "xchunked", "identity", "gzip, chunked"};
    for (size_t i = 0; i < sizeof codings / sizeof codings[0]; i++)
        assert_int_equal(GATE(HOST, {"Transfer-Encoding", codings[i]}), 400);
    assert_int_equal(gate("POST", "/x", "HTTP/1.0",
                          (const struct pair[]){HOST, {"Transfer-Encoding", "chunked"}, {0}},
                          &loopback, &result),
                     400);
    assert_int_equal(GATE(HOST, {"X", "a\rb"}), 400);
    assert_int_equal(GATE(HOST, {"X", "a\nb"}), 400);
    assert_int_equal(GATE(HOST, {"X", "a\x7f"}), 400);
    assert_int_equal(GATE(HOST, {"X", "a\tb \xe9"}), 0);
    assert_int_equal(GATE(HOST, {"Expect", "100-Continue"}), 0);
    assert_int_equal(GATE(HOST, {"Expect", "100-continue, x"}), 417);
}

static void request_line(void **state)
{
    (void)state;
    struct http_gate_result result;
    static const struct pair host[] = {HOST, {0}};
    static const struct {
        const char *method, *target, *version;
        int status;
    } cases[] = {
        {"GET", "/", "HTTP/1.1", 0},
        {"get", "/", "HTTP/1.1", 400},
        {"", "/", "HTTP/1.1", 400},
        {"GE-T", "/", "HTTP/1.1", 400},
        {"CONNECT", "/", "HTTP/1.1", 405},
        {"GET", "/", "HTTP/1.2", 400},
        {"GET", "/", "HTTP/2.0", 400},
        {"GET", "/", "http/1.1", 400},
        {"GET", "", "HTTP/1.1", 400},
        {"GET", "x", "HTTP/1.1", 400},
        {"GET", "/a%00", "HTTP/1.1", 400},
        {"GET", "/a%1f", "HTTP/1.1", 400},
        {"GET", "/a%", "HTTP/1.1", 400},
        {"GET", "/a%4", "HTTP/1.1", 400},
        {"GET", "/a%4g", "HTTP/1.1", 400},
        {"GET", "/a#b", "HTTP/1.1", 400},
        {"GET", "/a\x01", "HTTP/1.1", 400},
        {"GET", "http://", "HTTP/1.1", 400},
        {"GET", "http://a b/", "HTTP/1.1", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(
            gate(cases[i].method, cases[i].target, cases[i].version, host, &loopback, &result),
            cases[i].status);
    }
    assert_int_equal(gate("GET", "/v1/m%2Fx%41?q=%00", "HTTP/1.1", host, &loopback, &result), 0);
    assert_string_equal(result.path, "/v1/m/xA");
    assert_int_equal(gate("OPTIONS", "*", "HTTP/1.1", host, &loopback, &result), 0);
    assert_string_equal(result.path, "*");
    assert_int_equal(gate("GET", "HTTP://127.0.0.1:1/p", "HTTP/1.1", host, &loopback, &result), 0);
    assert_string_equal(result.path, "/p");
    assert_string_equal(result.host, "127.0.0.1:1");
    assert_int_equal(gate("GET", "http://evil/p", "HTTP/1.1", host, &loopback, &result), 403);
    char path[HTTP_PATH_BYTES + 8];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[HTTP_PATH_BYTES - 1] = '\0';
    assert_int_equal(gate("GET", path, "HTTP/1.1", host, &loopback, &result), 0);
    path[HTTP_PATH_BYTES - 1] = 'a';
    path[HTTP_PATH_BYTES] = '\0';
    assert_int_equal(gate("GET", path, "HTTP/1.1", host, &loopback, &result), 400);
}

static void limits(void **state)
{
    (void)state;
    static char large[HTTP_FIELDS_BYTES_MAX + 1];
    struct http_gate_result result;
    struct pair pairs[HTTP_FIELDS_MAX + 2] = {HOST};
    for (size_t i = 1; i < HTTP_FIELDS_MAX; i++)
        pairs[i] = (struct pair){"X", "y"};
    assert_int_equal(gate("GET", "/", "HTTP/1.1", pairs, &loopback, &result), 0);
    pairs[HTTP_FIELDS_MAX] = (struct pair){"X", "y"};
    assert_int_equal(gate("GET", "/", "HTTP/1.1", pairs, &loopback, &result), 431);
    memset(large, 'a', HTTP_FIELDS_BYTES_MAX - 14);
    assert_int_equal(GATE(HOST, {"X", large}), 0);
    large[HTTP_FIELDS_BYTES_MAX - 14] = 'a';
    assert_int_equal(GATE(HOST, {"X", large}), 431);
}

static void hosts(void **state)
{
    (void)state;
    static const char *const names[] = {"chat.example"};
    struct http_policy policy = {.loopback = true, .hosts = names, .n_hosts = 1};
    static const char *const good[] = {
        "localhost",   "LocalHost:8080", "localhost.", "127.0.0.1",    "127.0.0.1:1",
        "192.168.1.7", "[::1]",          "[::1]:8080", "chat.example", "CHAT.example:443"};
    static const char *const foreign[] = {"evil.example",     "localhost.evil", "chat.example.evil",
                                          "127.0.0.1.nip.io", "1.2.3",          "xlocalhost"};
    static const char *const broken[] = {"",    "a/b",      "a?b", "a@b", "a b",  "[::1",  "[x]",
                                         "a:b", "a:123456", ":80", "a,b", "a\\b", "[::1]x"};
    struct http_gate_result result;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct pair pairs[] = {{"Host", good[i]}, {0}};
        assert_int_equal(gate("GET", "/", "HTTP/1.1", pairs, &policy, &result), 0);
    }
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        struct pair pairs[] = {{"Host", foreign[i]}, {0}};
        assert_int_equal(gate("GET", "/", "HTTP/1.1", pairs, &policy, &result), 403);
        policy.loopback = false;
        assert_int_equal(gate("GET", "/", "HTTP/1.1", pairs, &policy, &result), 0);
        policy.loopback = true;
    }
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct pair pairs[] = {{"Host", broken[i]}, {0}};
        assert_int_equal(gate("GET", "/", "HTTP/1.1", pairs, &policy, &result), 400);
    }
    assert_int_equal(GATE(HOST, HOST), 400);
    assert_int_equal(GATE({"X", "y"}), 400);
}

static void origins(void **state)
{
    (void)state;
    static const char *const names[] = {"chat.example"}, *const others[] = {"app://x"},
                             *const any[] = {"*"};
    struct http_policy policy = {true, names, 1, others, 1};
    static const struct {
        const char *origin;
        int status;
        bool cors;
    } cases[] = {
        {"http://127.0.0.1:8080", 0, false},
        {"http://127.0.0.1:8081", 403, false},
        {"https://chat.example", 0, false},
        {"https://chat.example:8443", 0, false},
        {"https://evil.example", 403, false},
        {"null", 403, false},
        {"", 403, false},
        {"file://", 403, false},
        {"app://x", 0, true},
        {"app://y", 403, false},
        {"http://localhost:8080", 403, false},
    };
    struct http_gate_result result;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair pairs[] = {{"Host", "127.0.0.1:8080"}, {"Origin", cases[i].origin}, {0}};
        assert_int_equal(gate("POST", "/", "HTTP/1.1", pairs, &policy, &result), cases[i].status);
        assert_int_equal(result.cors_origin != NULL, cases[i].cors);
        assert_int_equal(gate("GET", "/", "HTTP/1.1", pairs, &policy, &result), 0);
    }
    policy.origins = any;
    struct pair pairs[] = {HOST, {"Origin", "https://evil.example"}, {0}};
    assert_int_equal(gate("POST", "/", "HTTP/1.1", pairs, &policy, &result), 0);
    assert_string_equal(result.cors_origin, "*");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framing), cmocka_unit_test(request_line), cmocka_unit_test(limits),
        cmocka_unit_test(hosts),   cmocka_unit_test(origins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
