/* A list of texts, one of which is the answer: guided_choice.
 *
 * One term, in which texts share their beginnings, so that ten thousand of them are a small
 * automaton. */
#include <cjson/cJSON.h>

#include "engine/base/json_scan.h"
#include "engine/base/mem.h"
#include "engine/grammar/build.h"
#include "engine/grammar/grammar.h"

static enum status read_choices(const cJSON *list, struct term_string *strings, size_t n,
                                struct error *err)
{
    const cJSON *one = list->child;
    for (size_t i = 0; i < n; i++, one = one->next) {
        if (!cJSON_IsString(one) || one->valuestring[0] == '\0')
            return error_set(err, ERR_INVALID, "choice number %zu is not a non-empty string", i);
        strings[i] = (struct term_string){one->valuestring, strlen(one->valuestring)};
    }
    return OK;
}

enum status build_choice(struct grammar_build *build, const char *text, size_t n_bytes, node *root,
                         struct error *err)
{
    static const struct json_limits limits = {2, GRAMMAR_CHOICES_MAX + 1};
    enum status status = json_scan(text, n_bytes, &limits, err);
    if (status != OK) {
        error_prefix(err, "the choices");
        return status;
    }
    cJSON *list = cJSON_ParseWithLength(text, n_bytes);
    size_t n = cJSON_IsArray(list) ? (size_t)cJSON_GetArraySize(list) : 0;
    struct term_string *strings = mem_calloc(n + 1, sizeof *strings);
    if (list == NULL || strings == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for the choices");
    else if (n == 0)
        status = error_set(err, ERR_INVALID, "the choices must be a non-empty array of strings");
    else
        status = read_choices(list, strings, n, err);
    if (status == OK)
        *root = nodes_lexeme(build->nodes, term_strings(build->terms, strings, n));
    mem_free(strings);
    cJSON_Delete(list);
    return status;
}
