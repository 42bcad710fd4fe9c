/* Renders templates for tests/golden/template/compare.py: reads requests from stdin until it ends,
 * writes one answer each.
 *
 * Request:  "J <template bytes> <variables bytes> <unix time>\n", the template, a JSON object with
 * the
 *           variables.
 * Answer:   "<status> <text bytes> <spans>\n", the text or the message, then "<first> <last>\n" for
 *           each untrusted span. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/template/jinja.h"
#include "engine/template/jinja_value.h"
#include "engine/template/json_value.h"

enum { REQUEST_BYTES_MAX = 64 << 20 };

struct request {
    char *source, *variables;
    size_t source_bytes, variables_bytes;
};

static void fill(struct jinja *j, void *context, struct dict *variables)
{
    const struct request *request = context;
    struct value v = json_parse(j, request->variables, request->variables_bytes, "variables");
    if (v.kind != VALUE_DICT)
        jinja_fail(j, ERR_INVALID, "variables: not an object");
    for (uint32_t i = 0; i < v.dict->n_entries; i++)
        dict_set(j, variables, v.dict->entries[i].key, v.dict->entries[i].value);
}

static void answer(const struct request *request, long long now)
{
    struct error err = {0};
    struct jinja_template *code;
    struct jinja_output out = {0};
    struct jinja_render_input input = {
        .fill = fill,
        .context = (void *)request,
        .input_bytes = request->source_bytes + request->variables_bytes,
        .now_unix_s = now,
    };
    enum status status = jinja_open(&code, request->source, request->source_bytes, &err);
    if (status == OK)
        status = jinja_render(code, &input, &out, &err);
    jinja_close(code);
    if (status != OK) {
        printf("%s %zu 0\n%s", status_name(status), strlen(err.text), err.text);
    } else {
        printf("OK %zu %zu\n", out.text.n_bytes, out.n_untrusted);
        if (out.text.n_bytes)
            fwrite(out.text.bytes, 1, out.text.n_bytes, stdout);
        for (size_t i = 0; i < out.n_untrusted; i++)
            printf("%zu %zu\n", out.untrusted[i].first, out.untrusted[i].last);
        jinja_output_release(&out);
    }
    fflush(stdout);
}

static char *read_bytes(size_t n)
{
    char *bytes = mem_alloc(n + 1);
    if (!bytes || fread(bytes, 1, n, stdin) != n)
        exit(2);
    return bytes;
}

int main(void)
{
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        struct request request;
        long long now;
        if (sscanf(line, "J %zu %zu %lld", &request.source_bytes, &request.variables_bytes, &now) !=
                3 ||
            request.source_bytes > REQUEST_BYTES_MAX || request.variables_bytes > REQUEST_BYTES_MAX)
            return 2;
        request.source = read_bytes(request.source_bytes);
        request.variables = read_bytes(request.variables_bytes);
        answer(&request, now);
        mem_free(request.source);
        mem_free(request.variables);
    }
    return 0;
}
