/* An engine without a model: implements engine.h so that the server and the page can be tested for
 * protocol alone, with time, length and failures chosen by the request.
 *
 * A prompt may carry a directive, [[tokens=50 delay_ms=10 prefill_ms=500 fail_after=5]]; its keys
 * are in `struct script`. The answer is a fixed text (temperature 0) or words drawn by the seed, so
 * the same request gives the same bytes. One thread plays the scheduler: it wakes when the next
 * token of any job is due. Events queue up to a bound, past which the job pauses, as in the real
 * engine. Not a model of performance. */
#include "engine/engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "tests/api/fake_reply.h"

enum {
    EVENTS_MAX = 64,
    TOKEN_BYTES = 24,
    PARALLEL = 32,
    QUEUE = 256,
    TOPS = ENGINE_TOP_LOGPROBS_MAX
};

/* What a directive can ask for. */
struct script {
    double tokens, delay_ms, prefill_ms, fail_after, reject, busy, cached, silent_ms;
};

static const char *const words[] = {
    "Wicara", " means",   " speech", ".",         " It",      " speaks", " many", " tongues",
    ",",      " caf\xc3", "\xa9",    " \xf0\x9f", "\x8c\x8a", " and",    " says", " \"yes\"",
    "\n\n",   "Line",     " two",    " ends",     " here",    ".",       " <b>",  "STOP",
    " after", " that",    " more",   " words",    " follow",  " until",  " the",  " end"};
enum { N_WORDS = sizeof words / sizeof words[0] };

struct queued_event {
    struct queued_event *next;
    struct job_event event;
    struct job_token token;
    struct job_alternative top[TOPS];
    struct job_token *list;
    char text[512];
    char *long_text;
};

struct choice {
    size_t n_tokens;
    bool finished;
    char text[1 << 16];  // all text so far, for stop strings
    size_t n_bytes, n_sent;
    struct reply *reply;  // of a scripted reply
    size_t n_said;
};

struct job {
    struct engine *engine;
    struct job *next;
    atomic_uint holds;
    atomic_bool cancelled;
    struct job_request request;
    struct script script;
    struct fake_say say;
    size_t n_reasoning;
    char *prompt;
    size_t prompt_tokens;
    char *stops[ENGINE_STOPS_MAX];
    uint64_t seed;
    struct choice *choices;
    /* guarded by engine->mutex */
    struct queued_event *first, *last, *taken;
    size_t n_events;
    bool prepared, running, ended;
    int64_t arrival_ns, due_ns, start_ns, first_ns;
    size_t n_total;
};

struct engine {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    struct job *jobs;
    bool stop, draining;
    size_t n_running, n_waiting;
    int64_t ready_ns;
    double delay_ms;
    size_t queue_max;
    bool fails;
    struct engine_info info;
    char *id;
    struct engine_metrics metrics;
    struct histogram ttft, itl, e2e, queue, prefill, decode, rows, batch, prompts, lengths;
};

static const double time_bounds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60};
static const double size_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096};

static double environment(const char *name, double fallback)
{
    const char *text = getenv(name);
    return text && *text ? strtod(text, NULL) : fallback;
}

/* ---- events ---- */

/* Appends under the mutex; true when the queue was empty and the consumer must be told. */
static bool push(struct job *job, struct queued_event *event)
{
    bool was_empty = job->first == NULL;
    if (job->last)
        job->last->next = event;
    else
        job->first = event;
    job->last = event;
    job->n_events++;
    return was_empty;
}

static struct queued_event *event_new(enum job_event_type type)
{
    struct queued_event *event = mem_calloc(1, sizeof *event);
    if (event)
        event->event.type = type;
    return event;
}

static void event_free(struct queued_event *event)
{
    if (event) {
        mem_free(event->list);
        mem_free(event->long_text);
    }
    mem_free(event);
}

static const char *word_at(const struct job *job, uint32_t choice, size_t i)
{
    if (job->request.temperature == 0)
        return words[i % N_WORDS];
    return words[rng_bits(job->seed, choice, (uint32_t)i, 0) % N_WORDS];
}

static void fill_token(struct job *job, struct queued_event *event, const char *word, size_t n,
                       size_t i)
{
    static const char *const others[] = {" yes", " no", " perhaps", "\xff"};
    event->token = (struct job_token){.token = (int32_t)(1000 + i % 97),
                                      .bytes = word,
                                      .n_bytes = n,
                                      .logprob = -0.1f / (float)(1 + i % 7)};
    if (job->request.top_logprobs > 0) {
        event->token.n_top = (size_t)job->request.top_logprobs;
        event->token.top = event->top;
        event->top[0] = (struct job_alternative){event->token.token, event->token.logprob, word, n};
        for (size_t k = 1; k < event->token.n_top; k++) {
            const char *other = others[k % 4];
            event->top[k] = (struct job_alternative){(int32_t)(2000 + k), -1.5f - (float)k, other,
                                                     strlen(other)};
        }
    }
    event->event.tokens = &event->token;
    event->event.n_tokens = 1;
}

/* Earliest stop string in the text from `from` on, or NULL. */
static const char *find_stop(const struct job *job, const struct choice *choice, size_t from,
                             size_t *at)
{
    const char *found = NULL;
    for (size_t i = 0; i < job->request.n_stops; i++) {
        const char *hit = strstr(choice->text + from, job->stops[i]);
        if (hit && (!found || (size_t)(hit - choice->text) < *at)) {
            *at = (size_t)(hit - choice->text);
            found = job->stops[i];
        }
    }
    return found;
}

/* Bytes at the end of the text that may still become a stop string or a character. */
static size_t held_back(const struct job *job, const struct choice *choice)
{
    size_t held = 0;
    for (size_t i = 0; i < job->request.n_stops; i++) {
        for (size_t n = strlen(job->stops[i]) - 1; n > held; n--) {
            if (n <= choice->n_bytes &&
                memcmp(choice->text + choice->n_bytes - n, job->stops[i], n) == 0)
                held = n;
        }
    }
    size_t tail = 0;
    while (tail < 3 && tail < choice->n_bytes) {
        unsigned char c = (unsigned char)choice->text[choice->n_bytes - 1 - tail];
        tail++;
        if (c >= 0xc0) {
            size_t wanted = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            if (tail < wanted && tail > held)
                held = tail;
            break;
        }
        if (c < 0x80)
            break;
    }
    return held;
}

static bool send_text(struct job *job, uint32_t index, const char *word, size_t upto)
{
    struct choice *choice = &job->choices[index];
    struct queued_event *event = event_new(EVENT_TEXT);
    if (!event)
        return false;
    event->event.choice = index;
    size_t n = upto > choice->n_sent ? upto - choice->n_sent : 0;
    if (n >= sizeof event->text)
        n = sizeof event->text - 1;
    memcpy(event->text, choice->text + choice->n_sent, n);
    event->event.text = event->text;
    event->event.n_bytes = n;
    choice->n_sent += n;
    if (word)
        fill_token(job, event, word, strlen(word), choice->n_tokens - 1);
    return push(job, event);
}

static bool send_finish(struct job *job, uint32_t index, enum finish_reason reason,
                        const char *stop)
{
    struct queued_event *event = event_new(EVENT_FINISHED);
    if (!event)
        return false;
    job->choices[index].finished = true;
    event->event.choice = index;
    event->event.finish_reason = reason;
    event->event.stop = stop;
    if (reason == FINISH_LENGTH)
        job->engine->metrics.finished_length++;
    else
        job->engine->metrics.finished_stop++;
    return push(job, event);
}

/* What the parser has made of a scripted reply; the token goes with the last part. */
static bool send_parts(struct job *job, uint32_t index, const char *token, size_t n_token)
{
    static const enum job_event_type types[] = {EVENT_TEXT, EVENT_REASONING, EVENT_TOOL_CALL,
                                                EVENT_TOOL_ARGUMENTS};
    struct choice *choice = &job->choices[index];
    size_t n_parts;
    const char *text;
    bool told = false;
    const struct reply_part *parts = reply_parts(choice->reply, &n_parts, &text);
    for (size_t i = 0; i < n_parts || (i == 0 && n_token > 0); i++) {
        struct queued_event *event = event_new(n_parts > 0 ? types[parts[i].type] : EVENT_TEXT);
        if (!event)
            break;
        event->event.choice = index;
        event->event.text = "";
        if (n_parts > 0) {
            event->event.call = parts[i].call;
            event->event.n_bytes = parts[i].n_bytes;
            event->event.id_bytes = parts[i].id_bytes;
            event->long_text = mem_memdup0(text, parts[i].n_bytes);
            event->event.text = event->long_text;
            text += parts[i].n_bytes;
        }
        if (i + 1 >= n_parts && n_token > 0)
            fill_token(job, event, token, n_token, choice->n_tokens - 1);
        told = push(job, event) || told;
    }
    reply_taken(choice->reply);
    return told;
}

static bool step_scripted(struct job *job, uint32_t index)
{
    struct choice *choice = &job->choices[index];
    const struct fake_say *say = &job->say;
    if (!choice->reply && reply_create(&choice->reply, &say->options, NULL) != OK)
        return false;
    const char *token = say->text + choice->n_said;
    size_t n = fake_say_token(say, choice->n_said);
    bool was_thinking = reply_is_thinking(choice->reply);
    bool whole = reply_push(choice->reply, token, n);
    job->n_reasoning += was_thinking || reply_is_thinking(choice->reply);
    choice->n_said += n;
    choice->n_tokens++;
    job->n_total++;
    bool ended = choice->n_said == say->n_bytes || reply_is_over(choice->reply);
    bool is_cut = !ended && choice->n_tokens == job->request.max_tokens;
    bool told = send_parts(job, index, token, n);
    if (!ended && !is_cut)
        return told;
    whole = reply_finish(choice->reply, is_cut) && whole;
    told = send_parts(job, index, NULL, 0) || told;
    enum finish_reason reason = is_cut                           ? FINISH_LENGTH
                                : reply_calls(choice->reply) > 0 ? FINISH_TOOL_CALLS
                                                                 : FINISH_STOP;
    reply_free(choice->reply);
    choice->reply = NULL;
    return send_finish(job, index, whole ? reason : FINISH_LENGTH, NULL) || told;
}

/* One token of one choice. */
static bool step_choice(struct job *job, uint32_t index)
{
    struct choice *choice = &job->choices[index];
    const char *word = word_at(job, index, choice->n_tokens);
    size_t limit = (size_t)job->script.tokens, from = choice->n_sent, at = 0;
    bool longest = job->request.max_tokens > 0 && job->request.max_tokens <= limit;
    if (longest)
        limit = job->request.max_tokens;
    size_t n = strlen(word);
    if (choice->n_bytes + n + 1 < sizeof choice->text) {
        memcpy(choice->text + choice->n_bytes, word, n + 1);
        choice->n_bytes += n;
    }
    choice->n_tokens++;
    job->n_total++;
    job->engine->metrics.generation_tokens++;
    const char *stop = find_stop(job, choice, from, &at);
    if (stop) {
        bool told = send_text(job, index, word, at);
        return send_finish(job, index, FINISH_STOP, stop) || told;
    }
    bool last = choice->n_tokens >= limit;
    bool told = send_text(job, index, word,
                          last ? choice->n_bytes : choice->n_bytes - held_back(job, choice));
    if (last)
        told = send_finish(job, index, longest ? FINISH_LENGTH : FINISH_STOP, NULL) || told;
    return told;
}

/* ---- the scheduler thread ---- */

static bool end_job(struct job *job, enum job_event_type type, enum status status, const char *text)
{
    struct queued_event *event = event_new(type);
    struct engine *engine = job->engine;
    int64_t now = clock_ns();
    job->ended = true;
    if (job->running)
        engine->n_running--;
    else
        engine->n_waiting--;
    job->running = false;
    if (!event)
        return false;
    if (status != OK) {
        status = error_set(&event->event.error, status, "%s", text);
        engine->metrics.finished_error++;
    }
    event->event.seed = job->seed;
    event->event.prompt_tokens = job->prompt_tokens;
    event->event.cached_tokens = (size_t)job->script.cached;
    event->event.completion_tokens = job->n_total;
    event->event.reasoning_tokens = job->n_reasoning;
    event->event.queue_s = (double)(job->start_ns - job->arrival_ns) / 1e9;
    event->event.prefill_s = (double)(job->first_ns - job->start_ns) / 1e9;
    event->event.decode_s = (double)(now - job->first_ns) / 1e9;
    histogram_add(&engine->e2e, (double)(now - job->arrival_ns) / 1e9);
    return push(job, event);
}

static bool prepare(struct job *job)
{
    struct engine *engine = job->engine;
    struct queued_event *event = event_new(EVENT_PREPARED);
    if (!event)
        return false;
    job->prepared = true;
    engine->metrics.prompt_tokens += job->prompt_tokens;
    event->event.seed = job->seed;
    event->event.prompt_tokens = job->prompt_tokens;
    return push(job, event);
}

static bool text_job(struct job *job);

/* What is due for one job; true when its consumer must be told. */
static bool advance(struct job *job, int64_t now)
{
    struct engine *engine = job->engine;
    if (job->request.kind == JOB_TOKENIZE || job->request.kind == JOB_DETOKENIZE ||
        job->request.kind == JOB_RENDER)
        return text_job(job);
    if (!job->prepared) {
        if (job->script.reject > 0)
            return end_job(job, EVENT_REJECTED, ERR_INVALID, "the template refused: as asked");
        if (job->prompt_tokens >= engine->info.ctx_size) {
            return end_job(job, EVENT_REJECTED, ERR_CONTEXT,
                           "the prompt is longer than the model's context length");
        }
        return prepare(job);
    }
    if (!job->running) {
        if (engine->n_running >= engine->info.parallel)
            return false;
        engine->n_waiting--;
        engine->n_running++;
        job->running = true;
        job->start_ns = now;
        job->due_ns = now + (int64_t)(job->script.prefill_ms * 1e6);
        return false;
    }
    if (now < job->due_ns || job->n_events >= EVENTS_MAX)
        return false;
    if (!job->first_ns) {
        job->first_ns = now;
        histogram_add(&engine->ttft, (double)(now - job->arrival_ns) / 1e9);
    }
    if (job->script.fail_after > 0 && (double)job->n_total >= job->script.fail_after)
        return end_job(job, EVENT_FAILED, ERR_INTERNAL, "the fake engine failed as asked");
    job->due_ns = now + (int64_t)(job->script.delay_ms * 1e6);
    bool told = false, all = true;
    for (uint32_t i = 0; i < job->request.n_choices; i++) {
        if (!job->choices[i].finished)
            told = (job->say.text ? step_scripted : step_choice)(job, i) || told;
        all = all && job->choices[i].finished;
    }
    if (all)
        told = end_job(job, EVENT_DONE, OK, "") || told;
    return told;
}

static void drop(struct job *job);

struct notice {
    void (*on_ready)(void *user);
    void *user;
};

/* One pass over the jobs; collects whom to tell. Returns when the next token is due. */
static int64_t pass(struct engine *engine, struct notice *notices, size_t *n_notices, size_t most)
{
    int64_t now = clock_ns(), next = now + 100000000;
    size_t rows = 0;
    for (struct job **link = &engine->jobs; *link;) {
        struct job *job = *link;
        if (atomic_load(&job->cancelled) && !job->ended) {
            job->ended = true;
            engine->metrics.finished_cancelled++;
            if (job->running)
                engine->n_running--;
            else
                engine->n_waiting--;
            job->running = false;
        }
        if (job->ended) {
            *link = job->next;
            drop(job);
            continue;
        }
        size_t before = job->n_total;
        while (*n_notices < most) {
            bool was_prepared = job->prepared, was_running = job->running;
            if (advance(job, now))
                notices[(*n_notices)++] = (struct notice){job->request.on_ready, job->request.user};
            if (job->ended || (was_prepared == job->prepared && was_running == job->running))
                break;
        }
        rows += job->n_total - before;
        if (job->running && job->n_events < EVENTS_MAX && job->due_ns < next)
            next = job->due_ns;
        link = &job->next;
    }
    engine->metrics.steps++;
    if (rows > 0) {
        engine->metrics.decode_steps++;
        engine->metrics.decode_rows += rows;
        histogram_add(&engine->batch, (double)rows);
    }
    return next;
}

static void *scheduler_main(void *argument)
{
    struct engine *engine = argument;
    enum { NOTICES_MAX = 512 };
    struct notice notices[NOTICES_MAX];
    pthread_mutex_lock(&engine->mutex);
    while (!engine->stop) {
        size_t n_notices = 0;
        int64_t next = pass(engine, notices, &n_notices, NOTICES_MAX);
        if (n_notices > 0) {
            pthread_mutex_unlock(&engine->mutex);
            for (size_t i = 0; i < n_notices; i++)
                notices[i].on_ready(notices[i].user);
            pthread_mutex_lock(&engine->mutex);
            continue;
        }
        if (next > clock_ns()) {
            struct timespec until = {next / 1000000000, next % 1000000000};
            pthread_cond_timedwait(&engine->wake, &engine->mutex, &until);
        }
    }
    pthread_mutex_unlock(&engine->mutex);
    return NULL;
}

/* ---- text jobs: one token a byte, 256 = BOS ---- */

static bool text_job(struct job *job)
{
    struct engine *engine = job->engine;
    bool tokenize = job->request.kind == JOB_TOKENIZE;
    struct queued_event *event = event_new(tokenize ? EVENT_TOKENS : EVENT_RENDERED);
    job->ended = true;
    engine->n_waiting--;
    if (!event)
        return false;
    if (tokenize) {
        size_t n = job->request.prompt_bytes, bos = job->request.no_special ? 0 : 1;
        event->list = mem_calloc(n + bos + 1, sizeof *event->list);
        for (size_t i = 0; event->list && i < n + bos; i++) {
            bool is_bos = i < bos;
            event->list[i].token = is_bos ? 256 : (unsigned char)job->prompt[i - bos];
            event->list[i].bytes = is_bos ? "<s>" : job->prompt + i - bos;
            event->list[i].n_bytes = is_bos ? 3 : 1;
        }
        event->event.tokens = event->list;
        event->event.n_tokens = event->list ? n + bos : 0;
    } else {
        event->event.text = job->prompt;
        event->event.n_bytes = strlen(job->prompt);
    }
    return push(job, event);
}

/* ---- engine.h ---- */

enum status engine_open(struct engine **out, const struct engine_options *options,
                        struct error *err)
{
    struct engine *engine = mem_calloc(1, sizeof *engine);
    if (!engine)
        return error_set(err, ERR_MEMORY, "no memory");
    pthread_mutex_init(&engine->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&engine->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    engine->ready_ns = clock_ns() + (int64_t)(environment("FAKE_LOAD_MS", 0) * 1e6);
    engine->delay_ms = environment("FAKE_DELAY_MS", 20);
    engine->fails = environment("FAKE_LOAD_FAILS", 0) > 0;
    engine->queue_max = options->queue_jobs_max ? options->queue_jobs_max : QUEUE;
    engine->id = mem_strdup(options->model_alias ? options->model_alias : "fake");
    engine->info =
        (struct engine_info){.model_id = engine->id,
                             .architecture = "fake",
                             .model_name = "Fake",
                             .fingerprint = "fp_fake",
                             .numerics = options->precise ? "precise" : "fast",
                             .cpu_level = options->cpu_level ? options->cpu_level : "scalar",
                             .chat_template = "{{ fake }}",
                             .bos_text = "",
                             .eos_text = "</s>",
                             .reply_format = "hermes",
                             .thinks = true,
                             .thinking_switch = true,
                             .n_parameters = 1000000,
                             .n_vocab = 4096,
                             .ctx_train = 4096,
                             .ctx_size = options->ctx_size ? options->ctx_size : 4096,
                             .parallel = options->parallel ? options->parallel : PARALLEL,
                             .threads = 1,
                             .weight_bytes = 1 << 20,
                             .kv_bytes = 1 << 20,
                             .kv_blocks = 128,
                             .kv_block_tokens = 32,
                             .load_seconds = 0.01};
    if (engine_sampling_read(&engine->info.sampling, NULL, options->sampling, err) != OK)
        return err->status;
    struct histogram *times[] = {&engine->ttft,  &engine->itl,     &engine->e2e,
                                 &engine->queue, &engine->prefill, &engine->decode};
    struct histogram *sizes[] = {&engine->rows, &engine->batch, &engine->prompts, &engine->lengths};
    for (size_t i = 0; i < 6; i++)
        histogram_init(times[i], time_bounds, sizeof time_bounds / sizeof time_bounds[0]);
    for (size_t i = 0; i < 4; i++)
        histogram_init(sizes[i], size_bounds, sizeof size_bounds / sizeof size_bounds[0]);
    if (!engine->id || pthread_create(&engine->thread, NULL, scheduler_main, engine) != 0) {
        mem_free(engine->id);
        mem_free(engine);
        return error_set(err, ERR_MEMORY, "the fake engine does not start");
    }
    *out = engine;
    return OK;
}

enum engine_state engine_state(const struct engine *engine)
{
    if (clock_ns() < engine->ready_ns)
        return ENGINE_LOADING;
    if (engine->fails)
        return ENGINE_FAILED;
    pthread_mutex_lock((pthread_mutex_t *)&engine->mutex);
    bool draining = engine->draining;
    pthread_mutex_unlock((pthread_mutex_t *)&engine->mutex);
    return draining ? ENGINE_DRAINING : ENGINE_READY;
}

enum status engine_wait(struct engine *engine, struct error *err)
{
    while (engine_state(engine) == ENGINE_LOADING)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    return engine->fails ? error_set(err, ERR_FORMAT, "the fake model is broken, as asked") : OK;
}

void engine_drain(struct engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    engine->draining = true;
    pthread_mutex_unlock(&engine->mutex);
}

size_t engine_jobs(const struct engine *engine)
{
    pthread_mutex_lock((pthread_mutex_t *)&engine->mutex);
    size_t n = engine->n_running + engine->n_waiting;
    pthread_mutex_unlock((pthread_mutex_t *)&engine->mutex);
    return n;
}

void engine_close(struct engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    engine->stop = true;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->mutex);
    pthread_join(engine->thread, NULL);
    while (engine->jobs) {
        struct job *job = engine->jobs;
        engine->jobs = job->next;
        drop(job);
    }
    mem_free(engine->id);
    pthread_cond_destroy(&engine->wake);
    pthread_mutex_destroy(&engine->mutex);
    mem_free(engine);
}

const struct engine_info *engine_info(const struct engine *engine)
{
    return &engine->info;
}

static void read_script(struct job *job)
{
    struct script *script = &job->script;
    *script = (struct script){.tokens = 16, .delay_ms = job->engine->delay_ms};
    struct {
        const char *name;
        double *value;
    } const keys[] = {{"tokens=", &script->tokens},         {"delay_ms=", &script->delay_ms},
                      {"prefill_ms=", &script->prefill_ms}, {"fail_after=", &script->fail_after},
                      {"reject=", &script->reject},         {"busy=", &script->busy},
                      {"cached=", &script->cached}};
    const char *start = strstr(job->prompt, "[["), *end = start ? strstr(start, "]]") : NULL;
    for (size_t i = 0; end && i < sizeof keys / sizeof keys[0]; i++) {
        const char *at = strstr(start, keys[i].name);
        if (at && at < end)
            *keys[i].value = strtod(at + strlen(keys[i].name), NULL);
    }
    if (script->tokens < 1)
        script->tokens = 1;
}

static char *copy_prompt(const struct job_request *request)
{
    if (request->messages_json)
        return mem_strdup(request->messages_json);
    if (!request->prompt_tokens)
        return mem_memdup0(request->prompt ? request->prompt : "", request->prompt_bytes);
    char *text = mem_calloc(request->n_prompt_tokens + 1, 1);
    for (size_t i = 0, n = 0; text && i < request->n_prompt_tokens; i++) {
        if (request->prompt_tokens[i] < 256)
            text[n++] = (char)request->prompt_tokens[i];
    }
    return text;
}

static void drop(struct job *job)
{
    if (atomic_fetch_sub(&job->holds, 1) != 1)
        return;
    while (job->first) {
        struct queued_event *event = job->first;
        job->first = event->next;
        event_free(event);
    }
    event_free(job->taken);
    for (size_t i = 0; i < job->request.n_stops; i++)
        mem_free(job->stops[i]);
    for (size_t i = 0; job->choices && i < job->request.n_choices; i++)
        reply_free(job->choices[i].reply);
    fake_say_close(&job->say);
    mem_free(job->choices);
    mem_free(job->prompt);
    mem_free(job);
}

enum status engine_submit(struct engine *engine, const struct job_request *request,
                          struct job **out, struct error *err)
{
    struct job *job = mem_calloc(1, sizeof *job);
    if (!job)
        return error_set(err, ERR_MEMORY, "no memory for the job");
    atomic_init(&job->holds, 2);
    job->engine = engine;
    job->request = *request;
    job->prompt = copy_prompt(request);
    job->choices = mem_calloc(request->n_choices, sizeof *job->choices);
    job->request.n_stops = 0;
    for (size_t i = 0; i < request->n_stops; i++) {
        job->stops[i] = mem_strdup(request->stops[i]);
        job->request.n_stops += job->stops[i] != NULL;
    }
    job->seed = request->has_seed ? request->seed : rng_seed_from_system();
    job->arrival_ns = clock_ns();
    if (!job->prompt || !job->choices || job->request.n_stops != request->n_stops) {
        atomic_store(&job->holds, 1);
        drop(job);
        return error_set(err, ERR_MEMORY, "no memory for the job");
    }
    job->prompt_tokens =
        request->prompt_tokens ? request->n_prompt_tokens : strlen(job->prompt) / 4 + 1;
    read_script(job);
    if (request->kind == JOB_CHAT)
        fake_say_open(&job->say, job->prompt, request->tools_json, request->one_tool_call);
    pthread_mutex_lock(&engine->mutex);
    enum status status = OK;
    if (engine->draining)
        status = error_set(err, ERR_SHUTDOWN, "shutting down");
    else if (engine->n_waiting >= engine->queue_max || job->script.busy > 0)
        status = error_set(err, ERR_BUSY, "the queue is full");
    if (status == OK) {
        job->next = engine->jobs;
        engine->jobs = job;
        engine->n_waiting++;
        *out = job;
        pthread_cond_signal(&engine->wake);
    }
    pthread_mutex_unlock(&engine->mutex);
    if (status != OK) {
        atomic_store(&job->holds, 1);
        drop(job);
    }
    return status;
}

bool job_next_event(struct job *job, const struct job_event **out)
{
    pthread_mutex_lock(&job->engine->mutex);
    struct queued_event *event = atomic_load(&job->cancelled) ? NULL : job->first;
    if (event) {
        job->first = event->next;
        if (!job->first)
            job->last = NULL;
        if (job->n_events-- == EVENTS_MAX)
            pthread_cond_signal(&job->engine->wake);
    }
    pthread_mutex_unlock(&job->engine->mutex);
    if (!event)
        return false;
    event_free(job->taken);
    job->taken = event;
    *out = &event->event;
    return true;
}

void job_cancel(struct job *job)
{
    if (atomic_exchange(&job->cancelled, true))
        return;
    pthread_mutex_lock(&job->engine->mutex);
    pthread_cond_signal(&job->engine->wake);
    pthread_mutex_unlock(&job->engine->mutex);
}

void job_release(struct job *job)
{
    job_cancel(job);
    drop(job);
}

enum job_phase job_phase(const struct job *job)
{
    pthread_mutex_lock(&job->engine->mutex);
    enum job_phase phase = job->ended      ? JOB_PHASE_ENDED
                           : !job->running ? JOB_PHASE_QUEUED
                           : job->first_ns ? JOB_PHASE_DECODE
                                           : JOB_PHASE_PREFILL;
    pthread_mutex_unlock(&job->engine->mutex);
    return phase;
}

void engine_metrics(const struct engine *engine, struct engine_metrics *out)
{
    pthread_mutex_lock((pthread_mutex_t *)&engine->mutex);
    *out = engine->metrics;
    out->jobs_running = engine->n_running;
    out->jobs_waiting = engine->n_waiting;
    out->kv_blocks = engine->info.kv_blocks;
    out->kv_blocks_free = engine->info.kv_blocks - engine->n_running;
    pthread_mutex_unlock((pthread_mutex_t *)&engine->mutex);
    out->time_to_first_token_s = &engine->ttft;
    out->inter_token_s = &engine->itl;
    out->e2e_s = &engine->e2e;
    out->queue_s = &engine->queue;
    out->prefill_s = &engine->prefill;
    out->decode_s = &engine->decode;
    out->step_rows = &engine->rows;
    out->decode_batch = &engine->batch;
    out->prompt_length = &engine->prompts;
    out->generation_length = &engine->lengths;
}
