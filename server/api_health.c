/* GET /health, /readyz: 200 when requests are served, 503 with the reason when not. GET /livez: the
 * process answers. No key is needed, since probes have none, and nothing is told that a key would
 * have to guard. */
#include "server/route.h"

void api_health(struct request *request, struct http_exchange *exchange)
{
    struct error err = {OK, "", ""};
    struct buf body;
    buf_init(&body, 4096);
    if (app_readiness(request->app, &err) != OK) {
        struct api_error error = api_error_from(&err);
        error.http_status = 503;
        reply_error(request, exchange, &error);
        return;
    }
    buf_append_text(&body, "{\"status\":\"ok\"}");
    reply_json(request, exchange, 200, &body);
}

void api_live(struct request *request, struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, 4096);
    buf_append_text(&body, "{\"status\":\"ok\"}");
    reply_json(request, exchange, 200, &body);
}
