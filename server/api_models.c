/* GET /v1/models, /v1/models/{id}, /props, /tokenizer_info, /version: what is served here. The list
 * of models is answered while the model still loads, because clients use it to check the
 * connection; what only a loaded model knows is then left out. */
#include "server/route.h"

#include <inttypes.h>

#include "server/params.h"

static void write_model(struct app *app, struct buf *out)
{
    buf_append_text(out, "{\"id\":");
    buf_append_json(out, app->model_id, strlen(app->model_id));
    buf_printf(out, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"wicara\"",
               app->start_unix_s);
    if (engine_state(app->engine) == ENGINE_READY || engine_state(app->engine) == ENGINE_DRAINING) {
        const struct engine_info *info = engine_info(app->engine);
        buf_printf(out,
                   ",\"max_model_len\":%zu,\"meta\":{\"n_params\":%" PRIu64
                   ",\"n_vocab\":%zu,\"n_ctx_train\":%zu,\"size\":%zu,\"architecture\":",
                   info->ctx_size, info->n_parameters, info->n_vocab, info->ctx_train,
                   info->weight_bytes);
        buf_append_json(out, info->architecture, strlen(info->architecture));
        buf_append_text(out, "},\"capabilities\":[\"completion\"");
        if (info->chat_template[0])
            buf_append_text(out, ",\"chat\"");
        if (info->fills_in)
            buf_append_text(out, ",\"insert\"");
        buf_append_char(out, ']');
    }
    buf_append_char(out, '}');
}

void api_models(struct request *request, struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_append_text(&body, "{\"object\":\"list\",\"data\":[");
    write_model(request->app, &body);
    buf_append_text(&body, "]}");
    reply_json(request, exchange, 200, &body);
}

void api_model(struct request *request, struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    if (strcmp(request->argument, request->app->model_id) != 0 &&
        strcmp(request->argument, "default") != 0) {
        struct error err = {OK, "", ""};
        enum status status = error_set_param(
            &err, ERR_NOT_FOUND, "model", "The model '%.100s' does not exist", request->argument);
        (void)status;
        reply_failure(request, exchange, &err);
        return;
    }
    write_model(request->app, &body);
    reply_json(request, exchange, 200, &body);
}

/* Defaults of the numeric parameters, for settings dialogs. */
static void write_defaults(const struct engine_sampling *sampling, struct buf *out)
{
    size_t n_params;
    const struct param *table = params_table(&n_params);
    bool first = true;
    for (size_t i = 0; i < n_params; i++) {
        const struct param *param = &table[i];
        if (!(param->endpoints & ENDPOINT_CHAT) || param->kind != PARAM_HONOURED ||
            param->min > param->max)
            continue;
        static const char *const origins[] = {"", ",\"from\":\"model\"", ",\"from\":\"option\""};
        double value = param->default_number;
        enum sampling_origin origin = SAMPLING_BUILT_IN;
        for (size_t field = 0; field < SAMPLING_FIELDS; field++) {
            if (strcmp(engine_sampling_name(field), param->name) == 0)
                origin = sampling->fields[field].origin;
            if (origin != SAMPLING_BUILT_IN) {
                value = sampling->fields[field].value;
                break;
            }
        }
        buf_printf(out, "%s\"%s\":{\"default\":%.10g,\"min\":%g,\"max\":%.10g%s}", first ? "" : ",",
                   param->name, value, param->min, param->max, origins[origin]);
        first = false;
    }
}

void api_props(struct request *request, struct http_exchange *exchange)
{
    struct app *app = request->app;
    struct error err = {OK, "", ""};
    if (app_readiness(app, &err) != OK) {
        reply_failure(request, exchange, &err);
        return;
    }
    const struct engine_info *info = engine_info(app->engine);
    struct buf body;
    buf_init(&body, 16 << 20);
    buf_append_text(&body, "{\"model\":");
    buf_append_json(&body, app->model_id, strlen(app->model_id));
    buf_append_text(&body, ",\"model_name\":");
    buf_append_json(&body, info->model_name, strlen(info->model_name));
    buf_append_text(&body, ",\"architecture\":");
    buf_append_json(&body, info->architecture, strlen(info->architecture));
    buf_append_text(&body, ",\"system_fingerprint\":");
    buf_append_json(&body, info->fingerprint, strlen(info->fingerprint));
    buf_append_text(&body, ",\"cpu_level\":");
    buf_append_json(&body, info->cpu_level, strlen(info->cpu_level));
    buf_append_text(&body, ",\"numerics\":");
    buf_append_json(&body, info->numerics, strlen(info->numerics));
    buf_printf(&body,
               ",\"n_ctx\":%zu,\"n_ctx_train\":%zu,\"total_slots\":%zu,\"threads\":%zu,"
               "\"n_params\":%" PRIu64 ",\"weight_bytes\":%zu,\"kv_bytes\":%zu,"
               "\"load_seconds\":%.3f,\"parameters\":{",
               info->ctx_size, info->ctx_train, info->parallel, info->threads, info->n_parameters,
               info->weight_bytes, info->kv_bytes, info->load_seconds);
    write_defaults(&info->sampling, &body);
    buf_append_text(&body, "},\"chat_template\":");
    buf_append_json(&body, info->chat_template, strlen(info->chat_template));
    buf_append_text(&body, ",\"version\":\"" WICARA_VERSION "\"}");
    reply_json(request, exchange, 200, &body);
}

static void write_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, ",\"%s\":", name);
    if (text[0])
        buf_append_json(out, text, strlen(text));
    else
        buf_append_text(out, "null");
}

/* vLLM's, from which lm-eval's remote tokenizer learns the model's ends. */
void api_tokenizer_info(struct request *request, struct http_exchange *exchange)
{
    struct error err = {OK, "", ""};
    if (app_readiness(request->app, &err) != OK) {
        reply_failure(request, exchange, &err);
        return;
    }
    const struct engine_info *info = engine_info(request->app->engine);
    struct buf body;
    buf_init(&body, 16 << 20);
    buf_printf(&body, "{\"tokenizer_class\":\"wicara\",\"vocab_size\":%zu,\"model_max_length\":%zu",
               info->n_vocab, info->ctx_size);
    write_text(&body, "bos_token", info->bos_text);
    write_text(&body, "eos_token", info->eos_text);
    write_text(&body, "pad_token", "");
    write_text(&body, "chat_template", info->chat_template);
    buf_append_char(&body, '}');
    reply_json(request, exchange, 200, &body);
}

void api_version(struct request *request, struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, 4096);
    buf_append_text(&body, "{\"version\":\"" WICARA_VERSION "\"}");
    reply_json(request, exchange, 200, &body);
}
