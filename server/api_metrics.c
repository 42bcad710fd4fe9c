/* GET /metrics: Prometheus text format 0.0.4. The engine's figures under vLLM's names, which
 * routers, dashboards and autoscalers know, and our own under wicara_. One label, the model: never
 * a request, a user or a prompt. Source: Prometheus exposition formats; reference ecosystem.md
 * section 3.3. */
#include "server/route.h"

#include <inttypes.h>
#include <stdatomic.h>

enum { METRICS_BYTES_MAX = 1 << 20 };

struct page {
    struct buf out;
    struct buf label;  // model_name="..."
};

static void head(struct page *page, const char *name, const char *type, const char *help)
{
    buf_printf(&page->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct page *page, const char *name, const char *help, double value)
{
    head(page, name, "gauge", help);
    buf_printf(&page->out, "%s{%s} %.9g\n", name, page->label.bytes, value);
}

static void counter(struct page *page, const char *name, const char *help, uint64_t value)
{
    head(page, name, "counter", help);
    buf_printf(&page->out, "%s{%s} %" PRIu64 "\n", name, page->label.bytes, value);
}

static void counter_seconds(struct page *page, const char *name, const char *help, uint64_t us)
{
    head(page, name, "counter", help);
    buf_printf(&page->out, "%s{%s} %.9g\n", name, page->label.bytes, (double)us * 1e-6);
}

static void histogram(struct page *page, const char *name, const char *help,
                      const struct histogram *histogram)
{
    if (!histogram)
        return;
    head(page, name, "histogram", help);
    uint64_t n = 0;
    for (size_t i = 0; i <= histogram->n_bounds; i++) {
        n += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
        buf_printf(&page->out, "%s_bucket{%s,le=\"", name, page->label.bytes);
        if (i < histogram->n_bounds)
            buf_printf(&page->out, "%.9g", histogram->bounds[i]);
        else
            buf_append_text(&page->out, "+Inf");
        buf_printf(&page->out, "\"} %" PRIu64 "\n", n);
    }
    buf_printf(&page->out, "%s_sum{%s} %.9g\n%s_count{%s} %" PRIu64 "\n", name, page->label.bytes,
               atomic_load_explicit(&histogram->sum, memory_order_relaxed), name, page->label.bytes,
               n);
}

/* Jobs by phase; a preempted job counts with the phase it had reached. */
static void write_phases(struct page *page, const struct engine_metrics *m)
{
    size_t decoding = m->jobs_decoding < m->jobs_running ? m->jobs_decoding : m->jobs_running;
    const size_t jobs[] = {m->jobs_waiting, m->jobs_running - decoding, decoding};
    static const char *const phases[] = {"queued", "prefill", "decode"};
    buf_append_text(&page->out, "# HELP wicara_jobs Jobs by phase.\n# TYPE wicara_jobs gauge\n");
    for (size_t i = 0; i < 3; i++)
        buf_printf(&page->out, "wicara_jobs{%s,phase=\"%s\"} %zu\n", page->label.bytes, phases[i],
                   jobs[i]);
}

static void write_kv_dir(struct page *page, const struct engine_metrics *m)
{
    counter(page, "wicara_kv_spilled_blocks_total", "KV blocks written to --kv-dir.",
            m->kv_blocks_spilled);
    counter(page, "wicara_kv_spilled_bytes_total", "Bytes of them.", m->kv_bytes_spilled);
    counter(page, "wicara_kv_reloaded_blocks_total", "KV blocks read back from --kv-dir.",
            m->kv_blocks_reloaded);
    counter(page, "wicara_kv_reloaded_bytes_total", "Bytes of them.", m->kv_bytes_reloaded);
    counter(page, "wicara_kv_damaged_blocks_total", "Files of --kv-dir that did not check.",
            m->kv_blocks_damaged);
    counter(page, "wicara_kv_dropped_blocks_total",
            "KV blocks lost because the disk was busy, full or not writable.",
            m->kv_blocks_dropped);
    gauge(page, "wicara_kv_dir_bytes", "Bytes in --kv-dir.", (double)m->kv_dir_bytes);
}

static void write_engine(struct page *page, const struct engine_metrics *m)
{
    size_t used = m->kv_blocks - m->kv_blocks_free;  // a cached block that nobody uses is free
    gauge(page, "vllm:num_requests_running", "Requests being computed.", (double)m->jobs_running);
    gauge(page, "vllm:num_requests_waiting", "Requests waiting for admission.",
          (double)m->jobs_waiting);
    write_phases(page, m);
    gauge(page, "vllm:kv_cache_usage_perc", "Part of the KV blocks in use, 0 to 1.",
          m->kv_blocks ? (double)used / (double)m->kv_blocks : 0);
    counter(page, "vllm:prompt_tokens_total", "Prompt tokens accepted.", m->prompt_tokens);
    counter(page, "vllm:generation_tokens_total", "Tokens generated.", m->generation_tokens);
    counter(page, "vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
            m->prefix_queries);
    counter(page, "vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
            m->prefix_hits);
    counter(page, "vllm:num_preemptions_total", "Sequences sent back to be computed again.",
            m->preemptions);
    const char *name = "vllm:request_success_total";
    head(page, name, "counter", "Requests finished, by reason.");
    buf_printf(&page->out, "%s{%s,finished_reason=\"stop\"} %" PRIu64 "\n", name, page->label.bytes,
               m->finished_stop);
    buf_printf(&page->out, "%s{%s,finished_reason=\"length\"} %" PRIu64 "\n", name,
               page->label.bytes, m->finished_length);
    buf_printf(&page->out, "%s{%s,finished_reason=\"abort\"} %" PRIu64 "\n", name,
               page->label.bytes, m->finished_cancelled);
    buf_printf(&page->out, "%s{%s,finished_reason=\"error\"} %" PRIu64 "\n", name,
               page->label.bytes, m->finished_error);
    histogram(page, "vllm:time_to_first_token_seconds", "Arrival to first token.",
              m->time_to_first_token_s);
    histogram(page, "vllm:inter_token_latency_seconds", "Between two tokens of a sequence.",
              m->inter_token_s);
    histogram(page, "vllm:e2e_request_latency_seconds", "Arrival to last token.", m->e2e_s);
    histogram(page, "vllm:request_queue_time_seconds", "Arrival to admission.", m->queue_s);
    histogram(page, "vllm:request_prefill_time_seconds", "Admission to first token.", m->prefill_s);
    histogram(page, "vllm:request_decode_time_seconds", "First token to last token.", m->decode_s);
    histogram(page, "vllm:request_prompt_tokens", "Prompt tokens of a request.", m->prompt_length);
    histogram(page, "vllm:request_generation_tokens", "Generated tokens of a request.",
              m->generation_length);
    histogram(page, "vllm:iteration_tokens_total", "Rows of a step.", m->step_rows);
    histogram(page, "wicara_decode_batch_rows", "Decode rows of a step that has any.",
              m->decode_batch);
    counter(page, "wicara_steps_total", "Steps computed.", m->steps);
    counter(page, "wicara_decode_steps_total", "Steps with decode rows.", m->decode_steps);
    counter(page, "wicara_decode_rows_total", "Decode rows computed.", m->decode_rows);
    counter(page, "wicara_prefill_rows_total", "Prefill rows computed.", m->prefill_rows);
    counter(page, "vllm:spec_decode_num_draft_tokens_total", "Guessed tokens computed.",
            m->draft_tokens);
    counter(page, "vllm:spec_decode_num_accepted_tokens_total", "Guessed tokens that were right.",
            m->draft_tokens_accepted);
    counter_seconds(page, "wicara_forward_seconds_total", "Time of steps in the model.",
                    m->forward_us);
    counter_seconds(page, "wicara_sampling_seconds_total", "Time of steps in drawing tokens.",
                    m->sampling_us);
    counter_seconds(page, "wicara_delivery_seconds_total", "Time of steps in text and events.",
                    m->delivery_us);
    gauge(page, "wicara_kv_blocks", "KV blocks in the pool.", (double)m->kv_blocks);
    gauge(page, "wicara_kv_blocks_free", "KV blocks that a request could take.",
          (double)m->kv_blocks_free);
    gauge(page, "wicara_kv_blocks_cached", "Free KV blocks that the prefix cache still knows.",
          (double)m->kv_blocks_cached);
    write_kv_dir(page, m);
}

static void write_info(struct page *page, const struct engine_info *info)
{
    head(page, "vllm:cache_config_info", "gauge", "Shape of the KV cache.");
    buf_printf(&page->out,
               "vllm:cache_config_info{%s,block_size=\"%zu\",num_gpu_blocks=\"%zu\"} 1\n",
               page->label.bytes, info->kv_block_tokens, info->kv_blocks);
    gauge(page, "wicara_weight_bytes", "Memory of the weights.", (double)info->weight_bytes);
    gauge(page, "wicara_kv_bytes", "Memory of the KV pool.", (double)info->kv_bytes);
    gauge(page, "wicara_load_seconds", "Time that loading took.", info->load_seconds);
}

static void write_http(struct page *page, struct http_server *http)
{
    struct http_stats stats;
    http_stats(http, &stats);
    gauge(page, "wicara_http_connections", "Open connections.", (double)stats.connections);
    gauge(page, "wicara_http_exchanges_waiting", "Requests whose work is under way.",
          (double)stats.exchanges_waiting);
    gauge(page, "wicara_http_body_bytes", "Request bodies in memory.", (double)stats.body_bytes);
    counter(page, "wicara_http_clients_gone_total", "Clients that left before their reply's end.",
            stats.clients_gone);
    head(page, "wicara_http_replies_total", "counter", "Replies by class of status.");
    for (size_t i = 2; i < 6; i++) {
        buf_printf(&page->out, "wicara_http_replies_total{%s,code=\"%zuxx\"} %" PRIu64 "\n",
                   page->label.bytes, i, stats.replies[i]);
    }
}

void api_metrics(struct request *request, struct http_exchange *exchange)
{
    struct app *app = request->app;
    struct page page;
    buf_init(&page.out, METRICS_BYTES_MAX);
    buf_init(&page.label, 4096);
    buf_append_text(&page.label, "model_name=");  // escapes as JSON does: \\ \" \n
    buf_append_json(&page.label, app->model_id, strlen(app->model_id));
    enum engine_state state = engine_state(app->engine);
    gauge(&page, "wicara_ready", "1 when requests are served.",
          state == ENGINE_READY && !atomic_load(&app->draining));
    if (state == ENGINE_READY || state == ENGINE_DRAINING) {
        struct engine_metrics metrics;
        memset(&metrics, 0, sizeof metrics);
        engine_metrics(app->engine, &metrics);
        write_engine(&page, &metrics);
        write_info(&page, engine_info(app->engine));
    }
    write_http(&page, app->http);
    buf_release(&page.label);
    route_add_headers(request, exchange);
    http_add_header(exchange, "Cache-Control", "no-store");
    http_reply_take(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", &page.out);
}
