/* The engine alone, behind engine.h: no HTTP, no peers.
 *
 *   engine_bench MODEL.gguf [threads=N] [rounds=5] [tokens=128] [cpu=LEVEL] [json=1]
 *                [speculation=1] [ROW ...]
 *
 * Rows: prefill:N (one prompt of N tokens), decode:S (S streams of `tokens` tokens each),
 * sampled:S (the same with temperature 0.8 and min_p 0.05), deep:N (one stream behind a prompt of N
 * tokens; prefill and decode are printed apart). Prompts are random ids, never the same twice; the
 * prefix cache and speculation are off, the end of sequence ignored. A first round is not counted;
 * median and quartiles of the others are printed, with the share of the steps' time that went into
 * drawing tokens and into text and events, and what the process's CPUs spent on a token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/engine.h"

enum { STREAMS_MAX = 256, ROUNDS_MAX = 100, ROWS_MAX = 64, SHORT_PROMPT = 16, N_DEFAULT_ROWS = 6 };

struct bench {
    struct engine *engine;
    size_t rounds, tokens;
    bool json;
    uint64_t n_prompts;  // so far: no prompt is used twice
};

/* One measurement of a row. */
struct sample {
    double rate, second_rate;  // tokens a second; deep: prefill and decode
    double cpu_us, sampling, delivery;
};

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static struct job *submit(struct bench *b, size_t n_prompt, size_t n_tokens, float temperature)
{
    size_t n_vocab = engine_info(b->engine)->n_vocab;
    int32_t *ids = mem_alloc_array(n_prompt, sizeof *ids);
    for (size_t i = 0; ids && i < n_prompt; i++)
        ids[i] = (int32_t)(rng_bits(b->n_prompts, 0, (uint32_t)i, 0) % n_vocab);
    b->n_prompts++;
    struct job_request request = {
        .kind = JOB_COMPLETION,
        .prompt_tokens = ids,
        .n_prompt_tokens = n_prompt,
        .max_tokens = n_tokens,
        .n_choices = 1,
        .temperature = temperature,
        .top_p = 1,
        .min_p = temperature > 0 ? 0.05f : 0,
        .repetition_penalty = 1,
        .has_seed = true,
        .seed = b->n_prompts,
        .ignore_eos = true,
        .top_logprobs = -1,
    };
    struct job *job = NULL;
    struct error err = {0};
    if (engine_submit(b->engine, &request, &job, &err) != OK) {
        fprintf(stderr, "submit: %s\n", err.text);
        exit(1);
    }
    mem_free(ids);
    return job;
}

/* Takes what is there; the DONE event's times go to `done`. True when the job has ended. */
static bool take_events(struct job *job, struct job_event *done)
{
    const struct job_event *event;
    while (job_next_event(job, &event)) {
        if (event->type == EVENT_REJECTED || event->type == EVENT_FAILED) {
            fprintf(stderr, "job: %s\n", event->error.text);
            exit(1);
        }
        if (event->type == EVENT_DONE) {
            *done = *event;
            return true;
        }
    }
    return false;
}

static struct sample run(struct bench *b, size_t n_streams, size_t n_prompt, size_t n_tokens,
                         float temperature)
{
    struct job *jobs[STREAMS_MAX];
    static struct job_event done[STREAMS_MAX];
    bool ended[STREAMS_MAX] = {false};
    struct engine_metrics before, after;
    engine_metrics(b->engine, &before);
    double cpu = cpu_seconds();
    int64_t start = clock_ns();
    for (size_t i = 0; i < n_streams; i++)
        jobs[i] = submit(b, n_prompt, n_tokens, temperature);
    for (size_t n_left = n_streams; n_left > 0;) {
        usleep(2000);
        for (size_t i = 0; i < n_streams; i++) {
            if (!ended[i] && take_events(jobs[i], &done[i])) {
                ended[i] = true;
                n_left--;
            }
        }
    }
    double seconds = (double)(clock_ns() - start) * 1e-9;
    cpu = cpu_seconds() - cpu;
    engine_metrics(b->engine, &after);
    double forward = (double)(after.forward_us - before.forward_us);
    double sampling = (double)(after.sampling_us - before.sampling_us);
    double delivery = (double)(after.delivery_us - before.delivery_us), step;
    step = forward + sampling + delivery;
    struct sample s = {.cpu_us =
                           cpu * 1e6 / (double)(n_streams * (n_tokens == 1 ? n_prompt : n_tokens)),
                       .sampling = sampling / step,
                       .delivery = delivery / step};
    s.rate = (double)(n_streams * (n_tokens == 1 ? n_prompt : n_tokens)) / seconds;
    if (n_streams == 1 && n_tokens > 1) {
        s.rate = (double)(n_tokens - 1) / done[0].decode_s;
        s.second_rate = (double)n_prompt / done[0].prefill_s;
    }
    for (size_t i = 0; i < n_streams; i++)
        job_release(jobs[i]);
    return s;
}

static struct sample run_row(struct bench *b, const char *row)
{
    const char *colon = strchr(row, ':');
    size_t n = colon ? strtoull(colon + 1, NULL, 10) : 0;
    if (n > 0 && strncmp(row, "prefill:", 8) == 0)
        return run(b, 1, n, 1, 0);
    if (n > 0 && n <= STREAMS_MAX && strncmp(row, "decode:", 7) == 0)
        return run(b, n, SHORT_PROMPT, b->tokens, 0);
    if (n > 0 && n <= STREAMS_MAX && strncmp(row, "sampled:", 8) == 0)
        return run(b, n, SHORT_PROMPT, b->tokens, 0.8f);
    if (n > 0 && strncmp(row, "deep:", 5) == 0)
        return run(b, 1, n, 33, 0);
    fprintf(stderr, "unknown row %s\n", row);
    exit(2);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values; q in quarters. */
static double quartile(double *values, size_t n, size_t q)
{
    qsort(values, n, sizeof *values, compare);
    double at = (double)(n - 1) * (double)q / 4;
    size_t low = (size_t)at, high = low + 1 < n ? low + 1 : low;
    return values[low] + (values[high] - values[low]) * (at - (double)low);
}

static void measure(struct bench *b, const char *row)
{
    struct sample samples[ROUNDS_MAX];
    double rates[ROUNDS_MAX], seconds[ROUNDS_MAX], cpu[ROUNDS_MAX], sampling[ROUNDS_MAX],
        delivery[ROUNDS_MAX];
    if (b->rounds > 1)
        (void)run_row(b, row);
    for (size_t r = 0; r < b->rounds; r++) {
        samples[r] = run_row(b, row);
        rates[r] = samples[r].rate;
        seconds[r] = samples[r].second_rate;
        cpu[r] = samples[r].cpu_us;
        sampling[r] = samples[r].sampling;
        delivery[r] = samples[r].delivery;
    }
    size_t n = b->rounds;
    if (b->json) {
        printf(
            "{\"row\": \"%s\", \"tokens_s\": %.2f, \"prefill_tokens_s\": %.2f, \"cpu_us\": %.1f, "
            "\"sampling\": %.4f, \"delivery\": %.4f}\n",
            row, quartile(rates, n, 2), quartile(seconds, n, 2), quartile(cpu, n, 2),
            quartile(sampling, n, 2), quartile(delivery, n, 2));
    } else {
        printf("%-14s %9.1f tokens/s (%.1f..%.1f)  CPU %.1f us/token, drawing %.1f %%, text and "
               "events %.1f %%",
               row, quartile(rates, n, 2), quartile(rates, n, 1), quartile(rates, n, 3),
               quartile(cpu, n, 2), 100 * quartile(sampling, n, 2), 100 * quartile(delivery, n, 2));
        if (strncmp(row, "deep:", 5) == 0)
            printf(", prefill %.1f tokens/s", quartile(seconds, n, 2));
        printf("\n");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct engine_options options = {.no_prefix_cache = true, .no_speculation = true};
    struct bench b = {.rounds = 5, .tokens = 128, .n_prompts = (uint64_t)clock_ns()};
    const char *rows[ROWS_MAX] = {"prefill:512", "prefill:2048", "decode:1",
                                  "decode:4",    "decode:16",    "decode:32"};
    size_t n_rows = 0;
    for (int i = 2; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        if (value == NULL && n_rows < ROWS_MAX)
            rows[n_rows++] = argv[i];
        else if (strncmp(argv[i], "threads=", 8) == 0)
            options.threads = strtoull(value + 1, NULL, 10);
        else if (strncmp(argv[i], "rounds=", 7) == 0)
            b.rounds = strtoull(value + 1, NULL, 10);
        else if (strncmp(argv[i], "tokens=", 7) == 0)
            b.tokens = strtoull(value + 1, NULL, 10);
        else if (strncmp(argv[i], "cpu=", 4) == 0)
            options.cpu_level = value + 1;
        else if (strncmp(argv[i], "speculation=", 12) == 0)
            options.no_speculation = value[1] != '1';
        else if (strncmp(argv[i], "json=", 5) == 0)
            b.json = value[1] == '1';
        else
            argc = 0;
    }
    if (argc < 2 || b.rounds < 1 || b.rounds > ROUNDS_MAX || b.tokens < 2) {
        fprintf(stderr, "usage: see the head of engine_bench.c\n");
        return 2;
    }
    options.model_path = argv[1];
    struct error err = {0};
    if (engine_open(&b.engine, &options, &err) != OK || engine_wait(b.engine, &err) != OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (size_t i = 0; i < (n_rows ? n_rows : N_DEFAULT_ROWS); i++)
        measure(&b, rows[i]);
    engine_close(b.engine);
    return 0;
}
