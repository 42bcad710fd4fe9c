/* The page of a build that carries none: one sentence that says so.
 *
 * It is a member of the server's archive, so the linker takes it only when no generated
 * web_assets.o defines the table. Not a weak definition beside the code that reads it: GCC takes a
 * weak const with an initialiser for its value, folds the count to 1 there, and every file of the
 * real table but the first is lost. */
#include "server/static_files.h"

static const char plain_page[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Wicara</title>"
    "<h1>Wicara is running</h1><p>This build carries no chat page. The API is at "
    "<code>/v1/chat/completions</code>.</p></html>\n";

const struct web_asset web_assets[] = {
    {"/index.html", "text/html; charset=utf-8", "\"plain\"", (const unsigned char *)plain_page,
     sizeof plain_page - 1, NULL, 0, false},
};
const size_t web_assets_count = 1;
