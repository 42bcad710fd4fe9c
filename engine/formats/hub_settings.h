/* The settings of the hub's client, from the environment variables that huggingface_hub defines:
 * HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME (for the file "token"), HF_HUB_DOWNLOAD_TIMEOUT,
 * HF_HUB_OFFLINE. */
#ifndef WICARA_FORMATS_HUB_SETTINGS_H
#define WICARA_FORMATS_HUB_SETTINGS_H

#include <stdbool.h>

#include "engine/base/error.h"

enum {
    HUB_TOKEN_BYTES_MAX = 1024,
    HUB_ENDPOINT_BYTES_MAX = 255,
    HUB_SILENCE_S_DEFAULT = 30,  // without a byte, then the connection counts as lost
};

struct hub_settings {
    char endpoint[HUB_ENDPOINT_BYTES_MAX + 1];     // "https://host", no slash at the end
    char authorization[HUB_TOKEN_BYTES_MAX + 32];  // a header line, or ""
    long silence_s;
};

/* ERR_INVALID naming the variable. */
enum status hub_settings_read(struct hub_settings *out, struct error *err) MUST_CHECK;
/* HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set to a true value. */
bool hub_is_offline(void);

#endif
