/* The models that are on this machine already, whoever downloaded them: the shared hub cache, our
 * own cache, Ollama, LM Studio, llama.cpp. All of them are served from where they lie. */
#ifndef WICARA_FORMATS_LOCAL_MODELS_H
#define WICARA_FORMATS_LOCAL_MODELS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

/* name, text for people */
#define MODEL_SOURCE_LIST(X)                                                                       \
    X(HUB, "hub cache")                                                                            \
    X(WICARA, "wicara")                                                                            \
    X(OLLAMA, "Ollama")                                                                            \
    X(LM_STUDIO, "LM Studio")                                                                      \
    X(LLAMA_CPP, "llama.cpp")

enum model_source {
#define X(name, text) MODEL_FROM_##name,
    MODEL_SOURCE_LIST(X)
#undef X
};

struct local_model {
    char *name;  // "org/repo:Q4_K_M", Ollama's "llama3.2:1b", a file's name without ".gguf"
    char *path;  // a GGUF file (the first of a split set) or a checkpoint's folder
    uint64_t bytes;
    enum model_source source;
};

enum { LOCAL_MODELS_MAX = 10000 };
struct local_models {
    struct local_model *models;  // [n_models], by source, then by name
    size_t n_models, capacity;
};

/* What cannot be read is left out; errors are ERR_MEMORY and ERR_LIMIT. */
enum status local_models_read(struct local_models *out, struct error *err) MUST_CHECK;
void local_models_release(struct local_models *models);
const char *model_source_text(enum model_source source);

/* By name, letter case aside; "org/repo" alone takes its Q4_K_M, then its Q8_0, then what there
 * is, and Ollama's names end in ":latest". NULL when no model has it. */
const struct local_model *local_models_find(const struct local_models *models, const char *name);

/* Deletes the model and what nothing else in its cache needs; *freed_bytes is what that gave back.
 * Only from the hub cache and our own: ERR_UNSUPPORTED names the program that owns it. */
enum status local_model_remove(const struct local_model *model, uint64_t *freed_bytes,
                               struct error *err) MUST_CHECK;

#endif
