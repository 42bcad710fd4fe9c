/* Appending to a token_list; private to engine/tokenizer. */
#ifndef WICARA_TOKENIZER_TOKEN_LIST_H
#define WICARA_TOKENIZER_TOKEN_LIST_H

#include "engine/tokenizer/tokenizer.h"

/* Makes room for one more id at the least. ERR_MEMORY. */
enum status token_list_grow(struct token_list *list, struct error *err) MUST_CHECK;

static inline enum status token_list_push(struct token_list *list, int32_t id, struct error *err)
{
    if (list->n_ids == list->capacity) {
        enum status status = token_list_grow(list, err);
        if (status)
            return status;
    }
    list->ids[list->n_ids++] = id;
    return OK;
}

#endif
