/* Settings from flags, environment and config file; see options.h.
 *
 * The config file is JSON with // and block comments (cJSON_Minify), checked by the strict scanner.
 * An unknown key, flag or value is an error: a typo must not pass silently. */
#include "server/options.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "engine/base/json_scan.h"
#include "engine/base/mem.h"
#include "server/commands.h"

#define AT(field) offsetof(struct options, field)
#define TEXT(name, other, fallback, field, value, help)                                            \
    {                                                                                              \
        name, other, OPTION_TEXT, fallback, 0, 0, AT(field), value, help, false, false             \
    }
#define NUMBER(name, other, fallback, low, high, field, value, help)                               \
    {                                                                                              \
        name, other, OPTION_NUMBER, fallback, low, high, AT(field), value, help, false, false      \
    }
#define FLAG(name, other, field, help)                                                             \
    {                                                                                              \
        name, other, OPTION_FLAG, "false", 0, 0, AT(field), NULL, help, false, false               \
    }
#define COMMAND(name, other, type, field, value, help)                                             \
    {                                                                                              \
        name, other, type, type == OPTION_FLAG ? "false" : NULL, 0, 0, AT(field), value, help,     \
            true, false                                                                            \
    }

enum { CONFIG_BYTES_MAX = 1 << 20 };

static const struct option_row table[] = {
    TEXT("model", "-m", NULL, model, "FILE",
         "model to serve: a .gguf file, or a name that `wicara models` lists (default: see below)"),
    TEXT("hf-repo", "-hf|-hfr", NULL, hf_repo, "REPO",
         "model of the Hugging Face hub, ORG/REPO[:QUANT], downloaded when it is not there"),
    TEXT("hf-file", "-hff", NULL, hf_file, "FILE",
         "one .gguf file of that repository (default: by QUANT, else Q4_K_M)"),
    FLAG("offline", NULL, offline, "download nothing, take what the cache has"),
    TEXT("alias", "-a|--served-model-name", NULL, alias, "NAME",
         "name of the model in the API (default: the file's name)"),
    TEXT("host", NULL, "127.0.0.1", host, "ADDR", "address to listen on"),
    NUMBER("port", NULL, "8080", 0, 65535, port, "N", "port to listen on, 0 = any free one"),
    {"api-key", NULL, OPTION_TEXT, NULL, 0, 0, AT(api_key), "KEY",
     "keys that clients must send, separated by commas", false, true},
    TEXT("api-key-file", NULL, NULL, api_key_file, "FILE", "file with one API key a line"),
    FLAG("insecure", NULL, insecure, "allow a bind beyond loopback without an API key"),
    TEXT("allowed-host", NULL, NULL, allowed_host, "LIST",
         "names under which a loopback bind may be reached, as behind a proxy"),
    TEXT("cors-origin", NULL, NULL, cors_origin, "LIST",
         "origins whose pages may call the API, \"*\" = any"),
    NUMBER("ctx-size", "-c|--max-model-len", "0", 0, UINT64_C(1) << 31, ctx_size, "N",
           "tokens of one conversation, 0 = what the model was trained for"),
    NUMBER("parallel", "-np|--max-num-seqs", "0", 0, 4096, parallel, "N",
           "conversations computed in one step, 0 = 32"),
    NUMBER("kv-memory", NULL, "0", 0, UINT64_C(1) << 50, kv_memory, "BYTES",
           "memory of the KV cache (suffixes K M G), 0 = from free memory"),
    TEXT("kv-dir", NULL, NULL, kv_dir, "DIR",
         "keep the KV of prompts there when memory is short and over a restart"),
    NUMBER("kv-dir-size", NULL, "10G", 1, UINT64_C(1) << 50, kv_dir_size, "BYTES",
           "most that it may take (suffixes K M G)"),
    NUMBER("threads", "-t", "0", 0, 256, threads, "N",
           "compute threads, 0 = the cores this process may use"),
    NUMBER("prefill-chunk", NULL, "0", 0, 1 << 20, prefill_chunk, "N",
           "prompt tokens in one step, 0 = 512"),
    NUMBER("queue", NULL, "0", 0, 1 << 20, queue, "N", "requests that may wait, 0 = 256"),
    FLAG("no-prefix-cache", NULL, no_prefix_cache, "do not keep the KV of finished prompts"),
    TEXT("speculation", NULL, "ngram", speculation, "KIND",
         "guess tokens from the text so far: ngram or off; the answers are the same"),
    TEXT("cpu", NULL, NULL, cpu, "LEVEL",
         "force an instruction set: scalar, avx2, avx512 (default: the best)"),
    TEXT("sampling", NULL, NULL, sampling, "LIST",
         "defaults of requests, NAME=VALUE,... over the model's own; builtin: without the model's"),
    TEXT("numerics", NULL, "fast", numerics, "CLASS",
         "fast, or precise: activations to 15 bits instead of 8, for evaluations"),
    TEXT("quantize", NULL, NULL, quantize, "TYPE",
         "load float weights as q8_0 or q4_k (default: as they are)"),
    NUMBER("key-jobs", NULL, "0", 0, 1 << 20, key_jobs, "N",
           "requests of one API key at a time, more get 429; 0 = no limit"),
    FLAG("strict-params", NULL, strict_params,
         "refuse request fields that would otherwise be ignored"),
    NUMBER("drain", NULL, "30", 0, 86400, drain_s, "SECONDS",
           "time that running requests get after SIGTERM"),
    NUMBER("ping", NULL, "10", 1, 3600, ping_s, "SECONDS",
           "silence after which a stream gets a keep-alive comment"),
    NUMBER("head-timeout", NULL, "10", 1, 3600, head_timeout_s, "SECONDS",
           "time for the head of a request to arrive"),
    NUMBER("body-timeout", NULL, "30", 1, 3600, body_timeout_s, "SECONDS",
           "time for its body, plus 1 s for each 64 KiB"),
    NUMBER("slow-reader", NULL, "30", 1, 3600, slow_reader_s, "SECONDS",
           "time a stream waits for its client to take bytes"),
    NUMBER("http-threads", NULL, "0", 0, 64, http_threads, "N",
           "threads that speak HTTP, 0 = one on up to 4 cores, else two"),
    TEXT("web-dir", NULL, NULL, web_dir, "DIR", "serve the page from DIR (for its development)"),
    TEXT("user", NULL, "nobody", user, "NAME", "user to become when started as root"),
    TEXT("log-level", NULL, "info", log_level, "LEVEL", "error, warn, info or debug"),
    COMMAND("config", NULL, OPTION_TEXT, config, "FILE", "read settings from a JSON file"),
    COMMAND("print-config", NULL, OPTION_FLAG, print_config, NULL,
            "print the effective settings and their origin, then exit"),
    COMMAND("print-parameters", NULL, OPTION_FLAG, print_parameters, NULL,
            "print the table of request parameters as Markdown, then exit"),
    COMMAND("version", NULL, OPTION_FLAG, version, NULL, "print the version, then exit"),
    COMMAND("help", "-h", OPTION_FLAG, help, NULL, "print this text, then exit"),
};
enum { N_ROWS = sizeof table / sizeof table[0] };
_Static_assert((int)N_ROWS <= (int)OPTIONS_TEXTS_MAX, "room for every row");

const struct option_row *options_table(size_t *n_rows)
{
    *n_rows = N_ROWS;
    return table;
}

bool options_parse_number(const char *text, uint64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    double value = strtod(text, &end);
    for (const char *at = text; at < end; at++) {
        if (!isdigit((unsigned char)*at) && *at != '.')
            return false;  // no hex, no exponent
    }
    double scale = 1;
    static const char suffixes[] = "KMGT";
    if (*end) {
        const char *suffix = strchr(suffixes, toupper((unsigned char)*end));
        if (!suffix)
            return false;
        for (const char *at = suffixes; at <= suffix; at++)
            scale *= 1024;
        end++;
        if (*end == 'B' || *end == 'b')
            end++;
    }
    value *= scale;
    if (*end || value > 9007199254740992.0 || value != floor(value))
        return false;
    *out = (uint64_t)value;
    return true;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "0", "no", "off", "true", "1", "yes", "on"};
    for (size_t i = 0; i < 8; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i >= 4;
            return true;
        }
    }
    return false;
}

/* `where` names the source in messages: "--port", "WICARA_PORT", "config.json: port". */
static enum status set_value(struct options_state *state, size_t row, const char *text,
                             enum option_origin origin, const char *where, struct error *err)
{
    const struct option_row *option = &table[row];
    char *field = (char *)&state->values + option->offset;
    state->origins[row] = origin;
    if (option->type == OPTION_FLAG) {
        if (!parse_bool(text, (bool *)field))
            return error_set(err, ERR_INVALID, "%s must be true or false, not '%.60s'", where,
                             text);
        return OK;
    }
    if (option->type == OPTION_NUMBER) {
        uint64_t value;
        if (!options_parse_number(text, &value) || value < option->min || value > option->max) {
            return error_set(err, ERR_INVALID,
                             "%s must be a number from %" PRIu64 " to %" PRIu64 ", not '%.60s'",
                             where, option->min, option->max, text);
        }
        *(uint64_t *)field = value;
        return OK;
    }
    if (state->n_texts == sizeof state->texts / sizeof state->texts[0])
        return error_set(err, ERR_INVALID, "%s: too many options", where);
    char *copy = mem_strdup(text);
    if (!copy)
        return error_set(err, ERR_MEMORY, "no memory for the options");
    state->texts[state->n_texts++] = copy;
    *(const char **)field = copy;
    return OK;
}

static void environment_name(const struct option_row *option, char out[64])
{
    size_t n = (size_t)snprintf(out, 64, "WICARA_%s", option->name);
    for (size_t i = 7; i < n; i++)
        out[i] = option->name[i - 7] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* `argument` is one of the row's spellings; for --name=value, *value is behind the '='. */
static bool row_matches(const struct option_row *option, const char *argument, const char **value)
{
    *value = NULL;
    size_t n = strlen(option->name);
    if (strncmp(argument, "--", 2) == 0 && strncmp(argument + 2, option->name, n) == 0) {
        if (argument[2 + n] == '=')
            *value = argument + 3 + n;
        if (argument[2 + n] == '\0' || *value)
            return true;
    }
    for (const char *other = option->other; other;) {
        n = strcspn(other, "|");
        if (strncmp(argument, other, n) == 0) {
            if (argument[n] == '=' && other[1] == '-')
                *value = argument + n + 1;
            if (argument[n] == '\0' || *value)
                return true;
        }
        other = other[n] ? other + n + 1 : NULL;
    }
    return false;
}

static enum status read_flags(struct options_state *state, int argc, char *const *argv,
                              bool config_only, struct error *err)
{
    for (int i = 1; i < argc; i++) {
        const char *value = NULL;
        size_t row = 0;
        while (row < N_ROWS && !row_matches(&table[row], argv[i], &value))
            row++;
        if (row == N_ROWS)
            return error_set(err, ERR_INVALID, "unknown argument '%.80s'; see --help", argv[i]);
        if (!value && table[row].type == OPTION_FLAG)
            value = "true";
        if (!value && i + 1 == argc)
            return error_set(err, ERR_INVALID, "%s needs a value", argv[i]);
        const char *where = argv[i];
        if (!value)
            value = argv[++i];
        char name[80];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(where, "="), where);
        if (config_only && table[row].offset != AT(config))
            continue;
        enum status status = set_value(state, row, value, FROM_FLAG, name, err);
        if (status != OK)
            return status;
    }
    return OK;
}

static enum status read_environment(struct options_state *state, struct error *err)
{
    for (size_t row = 0; row < N_ROWS; row++) {
        char name[64];
        if (table[row].command_line_only && table[row].offset != AT(config))
            continue;
        environment_name(&table[row], name);
        const char *value = getenv(name);
        if (!value || !*value)
            continue;
        enum status status = set_value(state, row, value, FROM_ENVIRONMENT, name, err);
        if (status != OK)
            return status;
    }
    return OK;
}

static enum status read_config_member(struct options_state *state, const char *path,
                                      const cJSON *node, struct error *err)
{
    size_t row = 0;
    while (row < N_ROWS &&
           (table[row].command_line_only || strcmp(table[row].name, node->string) != 0))
        row++;
    if (row == N_ROWS)
        return error_set(err, ERR_INVALID, "%s: unknown setting '%.60s'", path, node->string);
    char where[ERROR_TEXT_BYTES];
    snprintf(where, sizeof where, "%.100s: %s", path, node->string);
    if (cJSON_IsNull(node))
        return OK;  // as if it were not there
    if (cJSON_IsString(node))
        return set_value(state, row, node->valuestring, FROM_CONFIG, where, err);
    if (cJSON_IsBool(node) && table[row].type == OPTION_FLAG) {
        return set_value(state, row, cJSON_IsTrue(node) ? "true" : "false", FROM_CONFIG, where,
                         err);
    }
    if (cJSON_IsNumber(node) && table[row].type == OPTION_NUMBER) {
        char text[32];
        snprintf(text, sizeof text, "%.0f", node->valuedouble);
        if (floor(node->valuedouble) == node->valuedouble)
            return set_value(state, row, text, FROM_CONFIG, where, err);
    }
    return error_set(err, ERR_INVALID, "%s has the wrong type", where);
}

static enum status read_config(struct options_state *state, const char *path, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, ERR_INVALID, "config file %s: %s", path, strerror(errno));
    cJSON *root = NULL;
    char *text = mem_alloc(CONFIG_BYTES_MAX + 1);
    enum status status = OK;
    size_t n = text ? fread(text, 1, CONFIG_BYTES_MAX, file) : 0;
    fclose(file);
    if (!text)
        return error_set(err, ERR_MEMORY, "no memory for the config file");
    text[n] = '\0';
    cJSON_Minify(text);
    status = json_scan(text, strlen(text), &(struct json_limits){8, 1000}, err);
    if (status == OK) {
        root = cJSON_Parse(text);
        if (!cJSON_IsObject(root))
            status = error_set(err, ERR_INVALID, "the config file must hold a JSON object");
    }
    if (status != OK)
        error_prefix(err, "%s", path);
    const cJSON *node;
    for (node = root ? root->child : NULL; node && status == OK; node = node->next)
        status = read_config_member(state, path, node, err);
    cJSON_Delete(root);
    mem_free(text);
    return status;
}

enum status options_read(struct options_state *state, int argc, char *const *argv,
                         struct error *err)
{
    memset(state, 0, sizeof *state);
    enum status status = OK;
    for (size_t row = 0; row < N_ROWS && status == OK; row++) {
        if (table[row].fallback) {
            status = set_value(state, row, table[row].fallback, FROM_DEFAULT, table[row].name, err);
        }
    }
    if (status == OK)
        status = read_environment(state, err);
    if (status == OK)
        status = read_flags(state, argc, argv, true, err);
    if (status == OK && state->values.config)
        status = read_config(state, state->values.config, err);
    if (status == OK)
        status = read_environment(state, err);
    if (status == OK)
        status = read_flags(state, argc, argv, false, err);
    if (status != OK)
        options_release(state);
    return status;
}

enum option_origin options_origin(const struct options_state *state, const char *name)
{
    size_t row = 0;
    while (row < N_ROWS - 1 && strcmp(table[row].name, name) != 0)
        row++;
    assert(strcmp(table[row].name, name) == 0);
    return state->origins[row];
}

void options_release(struct options_state *state)
{
    for (size_t i = 0; i < state->n_texts; i++)
        mem_free(state->texts[i]);
    memset(state, 0, sizeof *state);
}

void options_write_help(struct buf *out)
{
    buf_append_text(out, "Usage: wicara [OPTION...]                  serve a chat model behind the "
                         "OpenAI API\n");
    buf_append_text(out, commands_help());
    buf_append_text(out, "\n");
    for (size_t row = 0; row < N_ROWS; row++) {
        const struct option_row *option = &table[row];
        char left[80] = "";
        size_t n = 0;
        if (option->other && option->other[1] != '-') {
            n += (size_t)snprintf(left, sizeof left, "%.*s, ", (int)strcspn(option->other, "|"),
                                  option->other);
        }
        n += (size_t)snprintf(left + n, sizeof left - n, "--%s%s%s", option->name,
                              option->value_name ? " " : "",
                              option->value_name ? option->value_name : "");
        buf_printf(out, "  %-26s %s", left, option->help);
        if (option->fallback && option->type != OPTION_FLAG && strcmp(option->fallback, "0") != 0)
            buf_printf(out, " (%s)", option->fallback);
        buf_append_char(out, '\n');
    }
    buf_append_text(
        out,
        "\nEvery option has an environment twin, as WICARA_CTX_SIZE for --ctx-size, and a key in"
        " the\nconfig file. A flag beats the environment, that beats the config file.\n"
        "Without --model and --hf-repo the model is wicara/SmolLM2-135M-Instruct.Q4_1.gguf in the\n"
        "user's cache. Downloads follow HF_TOKEN, HF_ENDPOINT, HF_HOME, HF_HUB_CACHE and\n"
        "HF_HUB_OFFLINE, and the proxy variables.\n"
        "Exit status: 0 after SIGTERM or SIGINT, 1 run-time failure, 2 wrong usage.\n");
}

void options_write_config(const struct options_state *state, struct buf *out)
{
    static const char *const origins[] = {"default", "config file", "environment", "flag"};
    buf_append_text(out, "{\n");
    bool first = true;
    for (size_t row = 0; row < N_ROWS; row++) {
        const struct option_row *option = &table[row];
        const char *field = (const char *)&state->values + option->offset;
        if (option->command_line_only)
            continue;
        char value[64];
        const char *text = NULL;
        if (option->type == OPTION_FLAG)
            snprintf(value, sizeof value, "%s", *(const bool *)field ? "true" : "false");
        else if (option->type == OPTION_NUMBER)
            snprintf(value, sizeof value, "%" PRIu64, *(const uint64_t *)field);
        else
            text = *(const char *const *)field;
        buf_printf(out, "%s    \"%s\": ", first ? "" : ",\n", option->name);
        if (option->type != OPTION_TEXT)
            buf_append_text(out, value);
        else if (!text || option->secret)
            buf_append_text(out, "null");
        else
            buf_append_json(out, text, strlen(text));
        buf_printf(out, "  /* %s%s */", origins[state->origins[row]],
                   text && option->secret ? ", not shown" : "");
        first = false;
    }
    buf_append_text(out, "\n}\n");
}
