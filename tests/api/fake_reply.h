/* A reply that the request scripts, for the fake engine: the text of a model, cut into tokens of a
 * few bytes and read by the real reply parser.
 *
 *   [[say=TEXT then=TEXT format=hermes piece=3 thinking=1]]
 *
 * TEXT is percent-encoded (no blank, quote, backslash or ]). `then` is said instead once the
 * conversation has a tool's result. Stop strings have no effect on it. */
#ifndef WICARA_TESTS_API_FAKE_REPLY_H
#define WICARA_TESTS_API_FAKE_REPLY_H

#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/template/reply.h"

struct fake_say {
    char *text;  // NULL: nothing is scripted
    size_t n_bytes, piece;
    struct reply_format format;
    struct reply_options options;
    struct reply_tools *tools;
};

static int fake_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87 : -1;
}

/* The value of a key inside the directive; NULL = not there. */
static const char *fake_key(const char *from, const char *end, const char *key)
{
    const char *at = strstr(from, key);
    return at && at < end ? at + strlen(key) : NULL;
}

static char *fake_decode(const char *at, const char *end, size_t *n_bytes)
{
    char *text = mem_calloc((size_t)(end - at) + 1, 1);
    *n_bytes = 0;
    for (; text && at < end && *at != ' '; at++) {
        bool is_code = *at == '%' && end - at > 2 && fake_hex(at[1]) >= 0 && fake_hex(at[2]) >= 0;
        text[(*n_bytes)++] = is_code ? (char)(16 * fake_hex(at[1]) + fake_hex(at[2])) : *at;
        at += is_code ? 2 : 0;
    }
    return text;
}

static void fake_say_open(struct fake_say *say, const char *messages, const char *tools,
                          bool one_call)
{
    const char *start = strstr(messages, "[["), *end = start ? strstr(start, "]]") : NULL;
    const char *text = end ? fake_key(start, end, "say=") : NULL;
    if (!text)
        return;
    const char *then = fake_key(start, end, "then=");
    char *name = NULL;
    size_t n = 0;
    if (then && (strstr(messages, "\"role\":\"tool\"") || strstr(messages, "\"role\": \"tool\"")))
        text = then;
    say->text = fake_decode(text, end, &say->n_bytes);
    const char *piece = fake_key(start, end, "piece="), *format = fake_key(start, end, "format=");
    say->piece = piece ? (size_t)strtoul(piece, NULL, 10) : 3;
    name = format ? fake_decode(format, end, &n) : NULL;
    if (!reply_format_named(&say->format, name ? name : "hermes"))
        reply_format_named(&say->format, "hermes");
    mem_free(name);
    if (tools && reply_tools_create(&say->tools, tools, NULL) != OK)
        say->tools = NULL;
    say->options = (struct reply_options){.format = &say->format,
                                          .tools = say->tools,
                                          .is_thinking = fake_key(start, end, "thinking=1") != NULL,
                                          .one_call = one_call};
}

/* Bytes of the token at `at`: whole characters. */
static size_t fake_say_token(const struct fake_say *say, size_t at)
{
    size_t end = at + say->piece;
    while (end < say->n_bytes && ((unsigned char)say->text[end] & 0xc0) == 0x80)
        end++;
    return (end < say->n_bytes ? end : say->n_bytes) - at;
}

static void fake_say_close(struct fake_say *say)
{
    mem_free(say->text);
    reply_tools_free(say->tools);
}

#endif
