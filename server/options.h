/* The settings of the server: one table gives flags, environment names, keys of the config file,
 * defaults, ranges and --help. A flag beats the environment, that beats the config file. */
#ifndef WICARA_SERVER_OPTIONS_H
#define WICARA_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"

struct options {
    const char *model, *alias;
    const char *hf_repo, *hf_file;
    bool offline;
    const char *host;
    uint64_t port;
    const char *api_key, *api_key_file;
    bool insecure;
    const char *allowed_host, *cors_origin;  // lists, separated by commas
    uint64_t ctx_size, parallel, kv_memory, threads, prefill_chunk, queue;
    const char *kv_dir;
    uint64_t kv_dir_size;
    bool no_prefix_cache;
    const char *speculation;
    const char *cpu;
    const char *numerics;
    const char *sampling;
    const char *quantize;
    uint64_t key_jobs;
    bool strict_params;
    uint64_t drain_s, ping_s, head_timeout_s, body_timeout_s, slow_reader_s;
    uint64_t http_threads;
    const char *web_dir;
    const char *user;
    const char *log_level;
    const char *config;
    bool print_config, print_parameters, version, help;
};

enum option_type { OPTION_TEXT, OPTION_NUMBER, OPTION_FLAG };
enum option_origin { FROM_DEFAULT, FROM_CONFIG, FROM_ENVIRONMENT, FROM_FLAG };

struct option_row {
    const char *name;   // "ctx-size": --ctx-size, WICARA_CTX_SIZE, "ctx-size" in the config file
    const char *other;  // further spellings, "-c|--max-model-len", or NULL
    enum option_type type;
    const char *fallback;    // default as text; NULL = none
    uint64_t min, max;       // of a number; suffixes K, M, G, T are powers of 1024
    size_t offset;           // in struct options
    const char *value_name;  // in --help
    const char *help;
    bool command_line_only;  // not in the config file or the environment
    bool secret;             // --print-config does not show it
};
const struct option_row *options_table(size_t *n_rows);

enum { OPTIONS_TEXTS_MAX = 64 };

struct options_state {
    struct options values;
    enum option_origin origins[OPTIONS_TEXTS_MAX];  // by row
    char *texts[OPTIONS_TEXTS_MAX * 3];             // owned copies
    size_t n_texts;
};

/* Reads config file, environment and flags. Errors: ERR_INVALID naming flag, variable or key. */
enum status options_read(struct options_state *state, int argc, char *const *argv,
                         struct error *err) MUST_CHECK;
void options_release(struct options_state *state);
/* Where the value of the option with this name came from; the name is in the table. */
enum option_origin options_origin(const struct options_state *state, const char *name);

void options_write_help(struct buf *out);
/* The effective settings as a config file, with the origin of each as a comment. */
void options_write_config(const struct options_state *state, struct buf *out);

/* "4096", "64K", "1.5G"; false when it is not that or too large. */
bool options_parse_number(const char *text, uint64_t *out);

#endif
