/* Sampling defaults from the model's file and from the command line; see engine_sampling.h.
 *
 * Authors ship the values that their model was tuned for; llama.cpp and vLLM take them, so the same
 * request gets the same distribution here. A file is outside input: a value out of the range that a
 * request may have is not taken. Pure but for the log; the ranges are those of the server's table
 * of parameters, which tests/server compares. */
#include "engine/engine_sampling.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/formats/model_file.h"

static const struct {
    const char *name;  // in a request
    const char *key;   // in the file, behind "general.sampling."
    double min, max;
    bool is_integer, min_excluded;
} table[SAMPLING_FIELDS] = {
    {"temperature", "temp", 0, 2, false, false},
    {"top_p", "top_p", 0, 1, false, false},
    {"top_k", "top_k", -1, 2147483647.0, true, false},
    {"min_p", "min_p", 0, 1, false, false},
    {"repetition_penalty", "penalty_repeat", 0, 100, false, true},
    {"repeat_last_n", "penalty_last_n", -1, 2147483647.0, true, false},
    {"xtc_probability", "xtc_probability", 0, 1, false, false},
    {"xtc_threshold", "xtc_threshold", 0, 1, false, false},
};

const char *engine_sampling_name(size_t field)
{
    return table[field].name;
}

static bool in_range(size_t field, double value)
{
    return value >= table[field].min && value <= table[field].max &&
           !(table[field].min_excluded && value == table[field].min) &&
           !(table[field].is_integer && value != floor(value));
}

/* 0.6 where the file has the float nearest to it. */
static double as_written(double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", value);
    return strtod(text, NULL);
}

static void read_file(struct engine_sampling *out, const struct model_file *file)
{
    char key[64];
    for (size_t i = 0; i < SAMPLING_FIELDS; i++) {
        double value;
        snprintf(key, sizeof key, "general.sampling.%s", table[i].key);
        if (!model_file_f64(file, key, &value))
            continue;
        if (!in_range(i, value)) {
            log_warn("the model's file: %s is %g, which is no %s; not taken", key, value,
                     table[i].name);
            continue;
        }
        out->fields[i].origin = SAMPLING_FROM_MODEL;
        out->fields[i].value = table[i].is_integer ? value : as_written(value);
    }
    int64_t mirostat;
    if (model_file_i64(file, "general.sampling.mirostat", &mirostat) && mirostat != 0)
        log_warn("the model's file asks for mirostat, which is not available");
}

/* One NAME=VALUE of n bytes. */
static enum status read_item(struct engine_sampling *out, const char *item, size_t n,
                             struct error *err)
{
    const char *equals = memchr(item, '=', n);
    size_t n_name = equals ? (size_t)(equals - item) : n, field = 0;
    while (field < SAMPLING_FIELDS &&
           (strlen(table[field].name) != n_name || memcmp(table[field].name, item, n_name) != 0))
        field++;
    if (!equals || field == SAMPLING_FIELDS)
        return error_set_param(err, ERR_INVALID, "sampling",
                               "--sampling: '%.*s' is not NAME=VALUE of a sampling default",
                               (int)(n < 60 ? n : 60), item);
    char *end;
    double value = strtod(equals + 1, &end);
    if (end == equals + 1 || end != item + n || !in_range(field, value))
        return error_set_param(err, ERR_INVALID, "sampling", "--sampling: '%.*s' is out of range",
                               (int)(n < 60 ? n : 60), item);
    out->fields[field].origin = SAMPLING_FROM_OPTION;
    out->fields[field].value = value;
    return OK;
}

enum status engine_sampling_read(struct engine_sampling *out, const struct model_file *file,
                                 const char *option, struct error *err)
{
    static const char builtin[] = "builtin";
    memset(out, 0, sizeof *out);
    const char *at = option ? option : "";
    size_t n = strcspn(at, ",");
    if (n == sizeof builtin - 1 && memcmp(at, builtin, n) == 0)
        at += n + (at[n] == ',');
    else if (file)
        read_file(out, file);
    while (*at) {
        n = strcspn(at, ",");
        enum status status = read_item(out, at, n, err);
        if (status != OK)
            return status;
        at += n + (at[n] == ',');
    }
    return OK;
}

void engine_sampling_text(const struct engine_sampling *sampling, char out[SAMPLING_TEXT_BYTES])
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < SAMPLING_FIELDS; i++) {
        if (sampling->fields[i].origin != SAMPLING_BUILT_IN)
            n += (size_t)snprintf(out + n, SAMPLING_TEXT_BYTES - n, "%s%s=%.10g", n ? "," : "",
                                  table[i].name, sampling->fields[i].value);
    }
}
