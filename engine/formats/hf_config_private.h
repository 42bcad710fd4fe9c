/* What hf_config.c and hf_rope.c share: a configuration being read, and its single values. */
#ifndef WICARA_FORMATS_HF_CONFIG_PRIVATE_H
#define WICARA_FORMATS_HF_CONFIG_PRIVATE_H

#include "engine/formats/hf_config.h"

enum { KEY_BYTES = 96 };

struct config {
    const struct json_doc *doc;
    const struct json_node *root;   // the language model's object
    const struct json_node *outer;  // the whole text's, the same without a wrapper
    struct hf_facts *facts;
    struct metadata *out;
    struct error *err;
};

/* A value that is there and not null. */
const struct json_node *config_get(const struct config *config, const struct json_node *object,
                                   const char *name);
enum status config_bad_value(const struct config *config, const char *name, const char *wanted);

/* *out keeps its value when the name is absent. */
enum status config_accept_u64(const struct config *config, const struct json_node *object,
                              const char *name, uint64_t *out);
enum status config_accept_f64(const struct config *config, const struct json_node *object,
                              const char *name, double *out);
enum status config_accept_bool(const struct config *config, const struct json_node *object,
                               const char *name, bool *out);

/* "<architecture>.<suffix>" */
const char *config_key(const struct config *config, const char *suffix, char key[KEY_BYTES]);
void config_put_u64(const struct config *config, const char *suffix, uint64_t value);
void config_put_f64(const struct config *config, const char *suffix, double value);
void config_put_text(const struct config *config, const char *suffix, const char *text);

/* The rotation: keys under rope., facts->n_rot and the divisors. */
enum status config_read_rope(const struct config *config, uint64_t ctx);

#endif
