/* POST /v1/chat/completions: from the body's text to a generation that the exchange waits for. All
 * that is decided here is which reader checks the body; its findings are replies, its result goes
 * to generation.c. Runs on an HTTP thread and does not block. */
#include "server/generation.h"

void api_chat(struct request *request, struct http_exchange *exchange)
{
    struct generation_request wanted;
    struct error err = {OK, "", ""};
    size_t n_bytes;
    const struct request_rules rules = app_request_rules(request->app);
    const char *text = http_body(exchange, &n_bytes);
    if (chat_request_parse(&wanted, text, n_bytes, &rules, &err) != OK) {
        reply_failure(request, exchange, &err);
        return;
    }
    generation_start(request, exchange, &wanted);
    generation_request_release(&wanted);
}
