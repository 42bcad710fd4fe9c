/* Helpers of the template tests: render a template on a JSON object of variables. */
#ifndef WICARA_TESTS_TEMPLATE_RENDER_H
#define WICARA_TESTS_TEMPLATE_RENDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/base/mem.h"
#include "engine/template/jinja.h"
#include "engine/template/jinja_value.h"
#include "engine/template/json_value.h"

enum { RENDER_NOW = 1767225599 };  // 2025-12-31 23:59:59 UTC

struct rendered {
    enum status status;
    struct error err;
    struct jinja_output out;  // text never NULL when status is OK
};

static inline void render_fill(struct jinja *j, void *context, struct dict *variables)
{
    const char *json = context;
    struct value v = json_parse(j, json, strlen(json), "variables");
    if (v.kind != VALUE_DICT)
        jinja_fail(j, ERR_INVALID, "variables: not an object");
    for (uint32_t i = 0; i < v.dict->n_entries; i++)
        dict_set(j, variables, v.dict->entries[i].key, v.dict->entries[i].value);
}

/* variables NULL: none; steps_max 0: the usual budget. */
static inline struct rendered render_within(const char *source, size_t n_bytes,
                                            const char *variables, uint64_t steps_max)
{
    struct rendered r = {0};
    struct jinja_template *code;
    const char *json = variables ? variables : "{}";
    struct jinja_render_input input = {.fill = render_fill,
                                       .context = (void *)json,
                                       .input_bytes = strlen(json),
                                       .now_unix_s = RENDER_NOW,
                                       .steps_max = steps_max};
    r.status = jinja_open(&code, source, n_bytes, &r.err);
    if (r.status == OK)
        r.status = jinja_render(code, &input, &r.out, &r.err);
    jinja_close(code);
    return r;
}

static inline struct rendered render_bytes(const char *source, size_t n_bytes,
                                           const char *variables)
{
    return render_within(source, n_bytes, variables, 0);
}

static inline struct rendered render(const char *source, const char *variables)
{
    return render_bytes(source, strlen(source), variables);
}

static inline const char *rendered_text(const struct rendered *r)
{
    return r->out.text.bytes ? r->out.text.bytes : "";
}

static inline void rendered_release(struct rendered *r)
{
    jinja_output_release(&r->out);
}

#endif
