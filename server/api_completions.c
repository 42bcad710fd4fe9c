/* POST /v1/completions, the legacy endpoint: as api_chat.c, with the reader for a plain prompt.
 * Kept whole because evaluation harnesses and editors still speak it (log-probabilities of text,
 * token prompts). */
#include "server/generation.h"

void api_completions(struct request *request, struct http_exchange *exchange)
{
    struct generation_request wanted;
    struct error err = {OK, "", ""};
    size_t n_bytes;
    const struct request_rules rules = app_request_rules(request->app);
    const char *text = http_body(exchange, &n_bytes);
    if (completion_request_parse(&wanted, text, n_bytes, &rules, &err) != OK) {
        reply_failure(request, exchange, &err);
        return;
    }
    generation_start(request, exchange, &wanted);
    generation_request_release(&wanted);
}
