/* Fuzz target: a tokenizer.model.
 *
 * Beyond "no crash" it asks of every input:
 *   - what is kept at the peak is at most ALLOCATION_FACTOR times the input and ALLOCATION_BYTES;
 *   - a refused file has a status and a text of printable characters;
 *   - of an accepted one the texts lie one behind the other, in no more bytes than the input has,
 *     kinds and ids are in their ranges, and each text is a stretch of the input;
 *   - parsed twice it gives the same.
 *
 * fuzz-sources: engine/base engine/formats/sentencepiece.c
 * fuzz-libraries: -lnettle -lm -lpthread */
#include <stdint.h>
#include <string.h>

#include "engine/formats/sentencepiece.h"
#include "tests/fuzz/fuzz.h"

/* A piece of two bytes (tag and length) is kept with a start of 8, a score and a kind. */
enum { ALLOCATION_FACTOR = 8, ALLOCATION_BYTES = 1 << 10 };

static bool in_range(const struct sentencepiece *model, int32_t id)
{
    return id >= -1 && (id < 0 || (size_t)id < model->n_pieces);
}

static void check_model(const struct sentencepiece *model, const uint8_t *data, size_t size)
{
    FUZZ_CHECK(model->n_pieces >= 1 && model->n_pieces <= size);
    FUZZ_CHECK(model->starts[0] == 0 && model->starts[model->n_pieces] <= size);
    FUZZ_CHECK(in_range(model, model->unknown) && in_range(model, model->bos));
    FUZZ_CHECK(in_range(model, model->eos));
    for (size_t i = 0; i < model->n_pieces; i++) {
        FUZZ_CHECK(model->kinds[i] >= 1 && model->kinds[i] <= 6);
        FUZZ_CHECK(model->starts[i] <= model->starts[i + 1]);
        if (i < 64)
            FUZZ_CHECK(memmem(data, size, model->bytes + model->starts[i],
                              model->starts[i + 1] - model->starts[i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sentencepiece model, again;
    struct error err = {0};
    fuzz_allocation_start();
    enum status status = sentencepiece_parse(&model, data, size, &err);
    FUZZ_CHECK(fuzz_allocation_peak() <= ALLOCATION_FACTOR * size + ALLOCATION_BYTES);
    FUZZ_CHECK(status == err.status);
    if (status) {
        FUZZ_CHECK(err.text[0] != '\0' && !model.bytes && !model.starts);
        for (const char *c = err.text; *c; c++)
            FUZZ_CHECK(*c >= 0x20 && *c < 0x7f);
        return 0;
    }
    check_model(&model, data, size);
    FUZZ_CHECK(sentencepiece_parse(&again, data, size, NULL) == OK);
    size_t n = model.n_pieces;
    FUZZ_CHECK(n == again.n_pieces && !memcmp(model.kinds, again.kinds, n) &&
               !memcmp(model.scores, again.scores, n * sizeof *model.scores) &&
               !memcmp(model.bytes, again.bytes, model.starts[n]));
    sentencepiece_release(&model);
    sentencepiece_release(&again);
    return 0;
}
