/* Opening and rendering a template; see jinja.h.
 *
 * The two entries of the interpreter and the only places that jinja_fail() jumps back to. What they
 * hold across the jump is the arena of the machine and the output, both released here. */
#include "engine/template/jinja.h"

#include "engine/base/rng.h"
#include "engine/template/jinja_eval.h"
#include "engine/template/jinja_node.h"
#include "engine/template/jinja_text.h"

/* Runs between setjmp and its return alone, so that no local variable is at stake. */
static enum status compile(struct jinja *j, struct jinja_template *code, const char *source,
                           size_t n_bytes)
{
    if (setjmp(j->fail_to))
        return j->status;
    parse_template(j, code, source, n_bytes);
    resolve_names(j, code);
    return OK;
}

enum status jinja_open(struct jinja_template **out, const char *source, size_t n_bytes,
                       struct error *err)
{
    *out = NULL;
    if (n_bytes > JINJA_SOURCE_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "chat template is larger than %d bytes",
                         JINJA_SOURCE_BYTES_MAX);
    struct jinja *j = mem_calloc(1, sizeof *j);
    struct jinja_template *code = mem_calloc(1, sizeof *code);
    enum status status = ERR_MEMORY;
    if (j && code) {
        *j = (struct jinja){
            .err = err, .steps_left = UINT64_MAX, .hash_seed = rng_seed_from_system()};
        arena_init(&j->arena, JINJA_CODE_BYTES_MAX);
        status = compile(j, code, source, n_bytes);
        code->arena = j->arena;
    } else {
        error_set(err, ERR_MEMORY, "chat template: out of memory");
    }
    mem_free(j);
    if (status == OK)
        *out = code;
    else
        jinja_close(code);
    return status;
}

void jinja_close(struct jinja_template *code)
{
    if (!code)
        return;
    struct arena arena = code->arena;
    arena_release(&arena);
    mem_free(code);
}

bool jinja_mentions(const struct jinja_template *code, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < code->n_strings; i++) {
        const struct text *known = code->strings[i];
        if (known->n_bytes >= n && memmem(known->bytes, known->n_bytes, text, n))
            return true;
    }
    for (size_t i = 0; i < code->n_names; i++) {
        if (text_equals(code->names[i], text))
            return true;
    }
    return false;
}

static enum status run(struct jinja *j, const struct jinja_render_input *input)
{
    if (setjmp(j->fail_to))
        return j->status;
    j->variables = dict_create(j, 16);
    input->fill(j, input->context, j->variables);
    eval_template(j);
    return OK;
}

enum status jinja_render(const struct jinja_template *code, const struct jinja_render_input *input,
                         struct jinja_output *out, struct error *err)
{
    *out = (struct jinja_output){0};
    if (input->input_bytes > JINJA_INPUT_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "the input of the chat template is larger than %d bytes",
                         JINJA_INPUT_BYTES_MAX);
    struct jinja *j = mem_calloc(1, sizeof *j);
    if (!j)
        return error_set(err, ERR_MEMORY, "chat template: out of memory");
    *j = (struct jinja){.err = err,
                        .steps_left = input->steps_max ? input->steps_max : JINJA_STEPS_MAX,
                        .code = code,
                        .out = out,
                        .now_unix_s = input->now_unix_s,
                        .hash_seed = rng_seed_from_system()};
    buf_init(&out->text, input->input_bytes * JINJA_OUTPUT_FACTOR + JINJA_OUTPUT_SLACK_BYTES);
    arena_init(&j->arena, JINJA_MEMORY_BYTES_MAX);
    enum status status = run(j, input);
    arena_release(&j->arena);
    mem_free(j);
    if (status != OK)
        jinja_output_release(out);
    return status;
}

void jinja_output_release(struct jinja_output *out)
{
    buf_release(&out->text);
    mem_free(out->untrusted);
    *out = (struct jinja_output){0};
}
