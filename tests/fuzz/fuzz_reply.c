/* Fuzz target: a model's reply, from text to reasoning, content and calls.
 *
 * The first two bytes choose the format and the options, the rest is the reply. It is parsed whole,
 * byte by byte, and cut at places that its length chooses: the parts must be the same. A second
 * pass takes every marker as a token. Then: nothing waits any more, calls are numbered and have
 * names, valid UTF-8 gives valid UTF-8, and text without a marker or a brace comes out as it went
 * in.
 *
 * fuzz-sources: engine/base engine/template/reply.c engine/template/reply_call.c
 *   engine/template/reply_format.c engine/template/reply_harmony.c engine/template/reply_json.c
 *   engine/template/reply_named.c engine/template/reply_tagged.c engine/template/reply_tools.c
 *   engine/template/reply_xml.c
 * fuzz-libraries: -lcjson -lnettle -lm -lpthread */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/template/reply.h"
#include "tests/fuzz/fuzz.h"

static const char *const formats[] = {
    "hermes",   "generic",       "llama3",      "deepseek-v3", "deepseek-v3.1", "kimi-k2",
    "mistral",  "mistral-array", "qwen-xml",    "glm",         "deepseek-v3.2", "harmony",
    "seed-oss", "minimax-m2",    "nemotron-v2", "apriel"};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static const char tools_json[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"x\":{"
    "\"type\":\"string\"},\"n\":{\"type\":\"integer\"},\"o\":{\"type\":[\"object\",\"null\"]}}}}}]";

struct run {
    struct buf text;  // of all parts, with a mark before each that differs from the last
    size_t n_calls;
};

static void take(struct reply *reply, struct run *run, uint32_t *last)
{
    size_t n_parts;
    const char *text;
    const struct reply_part *parts = reply_parts(reply, &n_parts, &text);
    for (size_t i = 0; i < n_parts; i++) {
        uint32_t kind = 1 + 4 * parts[i].call + (uint32_t)parts[i].type;
        FUZZ_CHECK(parts[i].n_bytes > parts[i].id_bytes);
        if (kind != *last || parts[i].type == REPLY_CALL) {
            buf_append_char(&run->text, '\0');
            buf_append_char(&run->text, "crta"[parts[i].type]);
        }
        if (parts[i].type == REPLY_CALL)
            FUZZ_CHECK(parts[i].call == run->n_calls++);
        if (parts[i].type == REPLY_ARGUMENTS)
            FUZZ_CHECK(parts[i].call + 1 == run->n_calls);
        *last = kind;
        buf_append(&run->text, text, parts[i].n_bytes);
        text += parts[i].n_bytes;
    }
    reply_taken(reply);
}

/* cut[i]: the text is cut behind byte i. NULL: whole. */
static void parse(const struct reply_options *options, const char *text, size_t n, bool is_cut,
                  const uint8_t *cut, struct run *run)
{
    struct reply *reply;
    uint32_t last = 0;
    *run = (struct run){0};
    buf_init(&run->text, 1 << 26);
    FUZZ_CHECK(reply_create(&reply, options, NULL) == OK);
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && (!cut || !cut[i]))
            continue;
        FUZZ_CHECK(reply_push(reply, text + from, i + 1 - from));
        from = i + 1;
        take(reply, run, &last);
    }
    FUZZ_CHECK(reply_finish(reply, is_cut));
    take(reply, run, &last);
    FUZZ_CHECK(reply_held(reply) == 0 || reply_is_over(reply));
    FUZZ_CHECK(reply_calls(reply) == run->n_calls && run->n_calls <= REPLY_CALLS_MAX);
    FUZZ_CHECK(!options->one_call || !reply_is_over(reply) || run->n_calls == 1);
    reply_free(reply);
}

static int32_t find_token(void *context, const char *text, size_t n_bytes, bool *is_control)
{
    (void)context, (void)text;
    *is_control = n_bytes % 2 == 0;
    return (int32_t)(n_bytes * 256 + (unsigned char)text[n_bytes / 2]);
}

/* Each marker in the text as one token. Only what cannot be told by a crash is checked. */
static void parse_tokens(struct reply_options options, const char *text, size_t n)
{
    struct reply_format format = *options.format;
    struct reply *reply;
    struct run run = {0};
    uint32_t last = 0;
    reply_format_resolve(&format, find_token, NULL);
    options.format = &format;
    buf_init(&run.text, 1 << 26);
    FUZZ_CHECK(reply_create(&reply, &options, NULL) == OK);
    for (size_t at = 0; at < n;) {
        size_t longest = 0;
        int mark = -1;
        for (int i = 0; i < REPLY_MARKERS; i++) {
            const struct reply_marker *marker = &format.markers[i];
            if (marker->text && marker->n_bytes > longest && marker->n_bytes <= n - at &&
                memcmp(text + at, marker->text, marker->n_bytes) == 0) {
                mark = i;
                longest = marker->n_bytes;
            }
        }
        FUZZ_CHECK(mark >= 0 ? reply_push_marker(reply, (size_t)mark)
                             : reply_push(reply, text + at, 1));
        at += mark >= 0 ? longest : 1;
        take(reply, &run, &last);
    }
    FUZZ_CHECK(reply_finish(reply, false));
    take(reply, &run, &last);
    reply_free(reply);
    buf_release(&run.text);
}

static bool has_marker(const struct reply_format *format, const char *text)
{
    for (int i = 0; i < REPLY_MARKERS; i++)
        if (format->markers[i].text && strstr(text, format->markers[i].text))
            return true;
    return false;
}

static void check_same(const struct run *whole, struct run *other)
{
    FUZZ_CHECK(whole->text.n_bytes == other->text.n_bytes);
    FUZZ_CHECK(whole->text.n_bytes == 0 ||
               memcmp(whole->text.bytes, other->text.bytes, whole->text.n_bytes) == 0);
    FUZZ_CHECK(whole->n_calls == other->n_calls);
    buf_release(&other->text);
}

static void check(const struct reply_options *options, char *text, size_t n, bool is_cut)
{
    struct run whole, other;
    uint8_t *cut = mem_calloc(n + 1, 1);
    FUZZ_CHECK(cut != NULL);
    parse(options, text, n, is_cut, NULL, &whole);
    memset(cut, 1, n);
    parse(options, text, n, is_cut, cut, &other);
    check_same(&whole, &other);
    uint32_t seed = (uint32_t)n;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < n; i++)
            cut[i] = fuzz_random(&seed, 1u << (2 * round + 1)) == 0;
        parse(options, text, n, is_cut, cut, &other);
        check_same(&whole, &other);
    }
    if (utf8_is_valid(text, n, NULL) && whole.text.n_bytes > 0)
        FUZZ_CHECK(utf8_is_valid(whole.text.bytes, whole.text.n_bytes, NULL));
    bool plain = !has_marker(options->format, text) && !memchr(text, '{', n) &&
                 !options->is_thinking && memchr(text, '\0', n) == NULL;
    if (plain && n > 0) {
        FUZZ_CHECK(whole.text.n_bytes == n + 2 && whole.text.bytes[1] == 'c');
        FUZZ_CHECK(memcmp(whole.text.bytes + 2, text, n) == 0);
    }
    buf_release(&whole.text);
    mem_free(cut);
    parse_tokens(*options, text, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 512)
        return 0;
    struct reply_format format;
    struct reply_tools *tools = NULL;
    FUZZ_CHECK(reply_format_named(&format, formats[data[0] % N_FORMATS]));
    uint8_t flags = data[1];
    if (flags & 1)
        reply_format_add_thought_tags(&format);
    if (!(flags & 2))
        FUZZ_CHECK(reply_tools_create(&tools, tools_json, NULL) == OK);
    struct reply_options options = {
        .format = &format, .tools = tools, .is_thinking = flags & 4, .one_call = flags & 8};
    char *text = mem_memdup0(data + 2, size - 2);
    FUZZ_CHECK(text != NULL);
    check(&options, text, size - 2, flags & 16);
    mem_free(text);
    reply_tools_free(tools);
    return 0;
}
