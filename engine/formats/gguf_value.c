/* Values of GGUF metadata after they were read: conversion of items and text for messages.
 *
 * Items keep the bytes of the file, because a vocabulary's scores as 150,000 unions would be four
 * times their size and most keys are never asked for. Conversions are exact or refused. */
#include "engine/formats/gguf.h"

#include <assert.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "items are read in host order");

const char *gguf_kind_text(uint32_t kind)
{
    switch (kind) {
#define X(name, id, bytes, text)                                                                   \
    case id:                                                                                       \
        return text;
        GGUF_KIND_LIST(X)
#undef X
    }
    return "of an unknown kind";
}

/* A number of any kind, widened. */
struct number {
    enum { NUMBER_UNSIGNED, NUMBER_SIGNED, NUMBER_FLOAT } form;
    uint64_t u;  // NUMBER_UNSIGNED
    int64_t i;   // NUMBER_SIGNED
    double f;    // NUMBER_FLOAT
};

/* Widens item i of an entry; false when its items are no numbers. */
static bool item_number(const struct gguf_entry *entry, size_t i, struct number *out)
{
    assert(i < entry->n_items);
    const uint8_t *bytes = entry->items ? entry->items : entry->number;
    *out = (struct number){0};
    switch (entry->item_kind) {
#define ITEM(name, type, form_name, field)                                                         \
    case GGUF_##name: {                                                                            \
        type value;                                                                                \
        memcpy(&value, bytes + i * sizeof value, sizeof value);                                    \
        out->form = NUMBER_##form_name;                                                            \
        out->field = value;                                                                        \
        return true;                                                                               \
    }
        ITEM(U8, uint8_t, UNSIGNED, u)
        ITEM(U16, uint16_t, UNSIGNED, u)
        ITEM(U32, uint32_t, UNSIGNED, u)
        ITEM(U64, uint64_t, UNSIGNED, u)
        ITEM(I8, int8_t, SIGNED, i)
        ITEM(I16, int16_t, SIGNED, i)
        ITEM(I32, int32_t, SIGNED, i)
        ITEM(I64, int64_t, SIGNED, i)
        ITEM(F32, float, FLOAT, f)
        ITEM(F64, double, FLOAT, f)
#undef ITEM
    }
    return false;
}

bool gguf_item_u64(const struct gguf_entry *entry, size_t i, uint64_t *out)
{
    struct number number;
    if (!item_number(entry, i, &number) || number.form == NUMBER_FLOAT)
        return false;
    if (number.form == NUMBER_SIGNED && number.i < 0)
        return false;
    *out = number.form == NUMBER_SIGNED ? (uint64_t)number.i : number.u;
    return true;
}

bool gguf_item_i64(const struct gguf_entry *entry, size_t i, int64_t *out)
{
    struct number number;
    if (!item_number(entry, i, &number) || number.form == NUMBER_FLOAT)
        return false;
    if (number.form == NUMBER_UNSIGNED && number.u > INT64_MAX)
        return false;
    *out = number.form == NUMBER_SIGNED ? number.i : (int64_t)number.u;
    return true;
}

bool gguf_item_f64(const struct gguf_entry *entry, size_t i, double *out)
{
    const int64_t exact_max = INT64_C(1) << 53;
    struct number number;
    int64_t integer;
    if (!item_number(entry, i, &number))
        return false;
    if (number.form == NUMBER_FLOAT) {
        *out = number.f;
        return true;
    }
    if (!gguf_item_i64(entry, i, &integer) || integer > exact_max || integer < -exact_max)
        return false;
    *out = (double)integer;
    return true;
}

bool gguf_item_text(const struct gguf_entry *entry, size_t i, struct text_view *out)
{
    assert(i < entry->n_items);
    if (entry->item_kind != GGUF_STRING)
        return false;
    size_t first = entry->starts ? entry->starts[i] : 0;
    size_t last = entry->starts ? entry->starts[i + 1] : entry->n_bytes;
    *out = (struct text_view){(const char *)entry->items + first, last - first};
    return true;
}

const char *gguf_quote(char out[GGUF_QUOTE_BYTES], const char *bytes, size_t n_bytes)
{
    static const char hex[] = "0123456789abcdef";
    const size_t room = GGUF_QUOTE_BYTES - sizeof "...";
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '\\';
        if (n + (plain ? 1 : 4) > room) {
            memcpy(out + n, "...", 3);
            n += 3;
            break;
        }
        if (plain) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    out[n] = '\0';
    return out;
}
