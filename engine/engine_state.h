/* What an open engine consists of; shared by engine.c (the interface), engine_load.c (opening) and
 * nobody else. */
#ifndef WICARA_ENGINE_ENGINE_STATE_H
#define WICARA_ENGINE_ENGINE_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/account.h"
#include "engine/base/pool.h"
#include "engine/engine.h"
#include "engine/formats/model_file.h"
#include "engine/scheduler/scheduler.h"
#include "engine/scheduler/text_pool.h"

enum { FINGERPRINT_BYTES = 32 };

struct engine {
    struct engine_options options;  // strings are copies, defaults are filled in
    struct account account;
    struct metrics metrics;
    struct wakeup *wakeup;

    pthread_t thread;  // loads, then runs the scheduler
    bool has_thread;
    pthread_mutex_t mu;
    pthread_cond_t loaded;
    _Atomic int state;       // enum engine_state; written under mu
    bool is_load_over;       /* guarded by mu */
    struct error load_error; /* guarded by mu */

    struct model_file *file;
    struct tokenizer *tokenizer;
    struct chat_prompt *chat_prompt;
    struct pool *pool;
    struct model *model;
    struct kv_cache *cache;
    struct kv_spill *spill;   // NULL without kv_dir
    size_t kv_account_bytes;  // reserved in the account, with the spill's slots
    size_t kv_plan_blocks;    // that the planner may give to sequences, of each group
    struct grammar_cache *grammars;
    struct prepare prepare;
    struct scheduler *scheduler;
    struct text_pool *text_pool;

    struct engine_info info;
    char *model_id, *chat_template;
    char *edge_texts[2];  // of the tokens for beginning and end of text, "" without one
    char fingerprint[FINGERPRINT_BYTES];
};

/* Opens everything, in the engine's own thread. On an error what is half open stays in the struct
 * for engine_unload(). */
enum status engine_load(struct engine *engine, struct error *err) MUST_CHECK;
void engine_unload(struct engine *engine);

#endif
