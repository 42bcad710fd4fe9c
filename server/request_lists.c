/* The lists of a generation request: stop strings and tokens, biases, bans, DRY's breakers.
 *
 * Each is bounded by number and by size before the engine sees it, since the engine looks texts up
 * in the vocabulary. Texts stay in the body's tree, numbers are copied into the request's arena. */
#include "server/generation_request.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <limits.h>

#include "engine/base/sha256.h"

/* Which texts a list may hold. */
struct text_rule {
    const char *param;
    size_t n_max, bytes_max;
};

/* An array of texts, or a single one, as pointers into the tree. */
static enum status read_texts(struct arena *arena, const cJSON *node, const struct text_rule *rule,
                              const char *const **out, size_t *n_out, struct error *err)
{
    size_t n_items = cJSON_IsString(node) ? 1 : (size_t)cJSON_GetArraySize(node), n = 0;
    if (n_items > rule->n_max) {
        return error_set_param(err, ERR_INVALID, rule->param, "'%s' has %zu texts, the most is %zu",
                               rule->param, n_items, rule->n_max);
    }
    const char **texts = arena_alloc(arena, (n_items + 1) * sizeof *texts);
    if (!texts)
        return error_set(err, ERR_MEMORY, "no memory for the request's lists");
    const cJSON *item = cJSON_IsString(node) ? node : node->child;
    for (; item && n < n_items; item = item->next) {
        if (!cJSON_IsString(item)) {
            return error_set_param(err, ERR_INVALID, rule->param, "'%s' must hold strings only",
                                   rule->param);
        }
        size_t n_bytes = strlen(item->valuestring);
        if (n_bytes == 0 || n_bytes > rule->bytes_max) {
            return error_set_param(err, ERR_INVALID, rule->param,
                                   "a text of '%s' must have 1 to %zu bytes, not %zu", rule->param,
                                   rule->bytes_max, n_bytes);
        }
        texts[n++] = item->valuestring;
    }
    *out = texts;
    *n_out = n;
    return OK;
}

static bool read_id(const cJSON *node, int32_t *out)
{
    double id = cJSON_IsNumber(node) ? node->valuedouble : -1;
    if (!(id >= 0 && id <= INT32_MAX) || id != (double)(int32_t)id)
        return false;
    *out = (int32_t)id;
    return true;
}

enum status request_read_ids(struct arena *arena, const cJSON *array, const char *param,
                             const int32_t **out, size_t *n_out, struct error *err)
{
    size_t n_items = (size_t)cJSON_GetArraySize(array), n = 0;
    int32_t *ids = arena_alloc(arena, (n_items + 1) * sizeof *ids);
    if (!ids)
        return error_set(err, ERR_MEMORY, "no memory for the request's lists");
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        if (!read_id(item, &ids[n++])) {
            return error_set_param(err, ERR_INVALID, param, "'%s[%zu]' is not a token id", param,
                                   n - 1);
        }
    }
    *out = ids;
    *n_out = n;
    return OK;
}

static enum status read_stops(struct generation_request *request, struct error *err)
{
    const struct params *params = &request->params;
    struct job_request *job = &request->job;
    static const struct text_rule rule = {"stop", STOPS_MAX, ENGINE_STOP_BYTES_MAX};
    enum status status = OK;
    if (params->stop.node) {
        status =
            read_texts(&request->arena, params->stop.node, &rule, &job->stops, &job->n_stops, err);
    }
    if (status != OK || !params->stop_token_ids.node)
        return status;
    status = request_read_ids(&request->arena, params->stop_token_ids.node, "stop_token_ids",
                              &job->stop_tokens, &job->n_stop_tokens, err);
    if (status == OK && job->n_stop_tokens > ENGINE_STOP_TOKENS_MAX) {
        return error_set_param(err, ERR_INVALID, "stop_token_ids",
                               "'stop_token_ids' has %zu entries, the most is %d",
                               job->n_stop_tokens, ENGINE_STOP_TOKENS_MAX);
    }
    return status;
}

/* ---- logit_bias ---- */

struct bias_lists {
    struct job_logit_bias *ids;
    struct job_text_bias *texts;
    size_t n_ids, n_texts;
};

/* -100..100, or (pairs only) false for a ban. */
static bool read_bias(const cJSON *node, bool pairs, float *out)
{
    if (pairs && cJSON_IsFalse(node)) {
        *out = -100;
        return true;
    }
    if (!cJSON_IsNumber(node) || node->valuedouble < -100 || node->valuedouble > 100)
        return false;
    *out = (float)node->valuedouble;
    return true;
}

static enum status read_object_bias(const cJSON *item, struct bias_lists *lists, struct error *err)
{
    int64_t id = -1;
    float bias;
    struct json_span key = {item->string, strlen(item->string)};
    if (!int64_from_span(&key, &id) || id < 0 || id > INT32_MAX) {
        return error_set_param(err, ERR_INVALID, "logit_bias",
                               "'%.40s' in 'logit_bias' is not a token id", item->string);
    }
    if (!read_bias(item, false, &bias)) {
        return error_set_param(
            err, ERR_INVALID, "logit_bias",
            "'logit_bias': the bias of token %" PRId64 " must be a number in -100..100", id);
    }
    lists->ids[lists->n_ids++] = (struct job_logit_bias){(int32_t)id, bias};
    return OK;
}

static enum status read_pair_bias(const cJSON *item, size_t i, struct bias_lists *lists,
                                  struct error *err)
{
    const cJSON *what = cJSON_IsArray(item) ? item->child : NULL;
    const cJSON *value = what ? what->next : NULL;
    int32_t id;
    float bias;
    if (!value || value->next || !read_bias(value, true, &bias)) {
        return error_set_param(err, ERR_INVALID, "logit_bias",
                               "'logit_bias[%zu]' must be [token id or text, number in -100..100 "
                               "or false]",
                               i);
    }
    if (read_id(what, &id)) {
        lists->ids[lists->n_ids++] = (struct job_logit_bias){id, bias};
        return OK;
    }
    size_t n_bytes = cJSON_IsString(what) ? strlen(what->valuestring) : 0;
    if (n_bytes == 0 || n_bytes > ENGINE_WORD_BYTES_MAX) {
        return error_set_param(err, ERR_INVALID, "logit_bias",
                               "'logit_bias[%zu][0]' must be a token id or a text of 1 to %d bytes",
                               i, ENGINE_WORD_BYTES_MAX);
    }
    lists->texts[lists->n_texts++] = (struct job_text_bias){what->valuestring, bias};
    return OK;
}

static enum status read_logit_bias(struct generation_request *request, struct error *err)
{
    const cJSON *node = request->params.logit_bias.node;
    if (!node)
        return OK;
    size_t n_items = (size_t)cJSON_GetArraySize(node), i = 0;
    if (n_items > ENGINE_LOGIT_BIAS_MAX) {
        return error_set_param(err, ERR_INVALID, "logit_bias",
                               "'logit_bias' has %zu entries, the most is %d", n_items,
                               ENGINE_LOGIT_BIAS_MAX);
    }
    struct bias_lists lists = {
        .ids = arena_alloc(&request->arena, (n_items + 1) * sizeof *lists.ids),
        .texts = arena_alloc(&request->arena, (n_items + 1) * sizeof *lists.texts),
    };
    if (!lists.ids || !lists.texts)
        return error_set(err, ERR_MEMORY, "no memory for logit_bias");
    const cJSON *item;
    cJSON_ArrayForEach(item, node)
    {
        enum status status = cJSON_IsObject(node) ? read_object_bias(item, &lists, err)
                                                  : read_pair_bias(item, i++, &lists, err);
        if (status != OK)
            return status;
    }
    request->job.logit_bias = lists.ids;
    request->job.n_logit_bias = lists.n_ids;
    request->job.text_bias = lists.texts;
    request->job.n_text_bias = lists.n_texts;
    return OK;
}

/* ---- bans and DRY ---- */

static enum status read_bans(struct generation_request *request, struct error *err)
{
    const struct params *params = &request->params;
    struct job_request *job = &request->job;
    static const struct text_rule rule = {"bad_words", ENGINE_BAD_WORDS_MAX, ENGINE_WORD_BYTES_MAX};
    enum status status = OK;
    if (params->bad_words.node) {
        status = read_texts(&request->arena, params->bad_words.node, &rule, &job->bad_words,
                            &job->n_bad_words, err);
    }
    if (status != OK || !params->allowed_token_ids.node)
        return status;
    status = request_read_ids(&request->arena, params->allowed_token_ids.node, "allowed_token_ids",
                              &job->allowed_tokens, &job->n_allowed_tokens, err);
    if (status == OK && job->n_allowed_tokens == 0) {
        return error_set_param(err, ERR_INVALID, "allowed_token_ids",
                               "'allowed_token_ids' must not be empty");
    }
    return status;
}

static enum status read_breakers(struct generation_request *request, struct error *err)
{
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    static const struct text_rule rule = {"dry_sequence_breakers", ENGINE_DRY_BREAKERS_MAX,
                                          ENGINE_WORD_BYTES_MAX};
    const cJSON *node = request->params.dry_sequence_breakers.node;
    struct job_request *job = &request->job;
    if (node) {
        return read_texts(&request->arena, node, &rule, &job->dry_breakers, &job->n_dry_breakers,
                          err);
    }
    job->dry_breakers = usual;
    job->n_dry_breakers = sizeof usual / sizeof usual[0];
    return OK;
}

static void read_salt(struct generation_request *request)
{
    const cJSON *salt = request->params.cache_salt.node;
    if (!salt || !salt->valuestring[0])
        return;
    request->job.has_cache_salt = true;
    sha256(request->job.cache_salt, salt->valuestring, strlen(salt->valuestring), NULL, 0, NULL, 0);
}

enum status request_read_lists(struct generation_request *request, struct error *err)
{
    enum status status = read_stops(request, err);
    if (status == OK)
        status = read_logit_bias(request, err);
    if (status == OK)
        status = read_bans(request, err);
    if (status == OK)
        status = read_breakers(request, err);
    read_salt(request);
    return status;
}
