/* Writes GGUF files into memory, right ones and wrong ones, for the tests of engine/formats and
 * the seeds of the fuzzer. Nothing is checked here: a test says exactly which bytes it wants. */
#ifndef WICARA_TESTS_GGUF_BUILD_H
#define WICARA_TESTS_GGUF_BUILD_H

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/formats/gguf.h"

struct gguf_build {
    uint8_t *bytes;
    size_t n_bytes;
    size_t capacity;
};

static inline void build_bytes(struct gguf_build *build, const void *bytes, size_t n_bytes)
{
    if (build->n_bytes + n_bytes > build->capacity) {
        build->capacity = 2 * (build->n_bytes + n_bytes) + 64;
        build->bytes = realloc(build->bytes, build->capacity);
        assert(build->bytes);
    }
    if (n_bytes)
        memcpy(build->bytes + build->n_bytes, bytes, n_bytes);
    build->n_bytes += n_bytes;
}

static inline void build_release(struct gguf_build *build)
{
    free(build->bytes);
    *build = (struct gguf_build){0};
}

/* The n lowest bytes of a value, little-endian. */
static inline void build_int(struct gguf_build *build, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        uint8_t byte = (uint8_t)(value >> (8 * i));
        build_bytes(build, &byte, 1);
    }
}

static inline void build_u32(struct gguf_build *build, uint64_t value)
{
    build_int(build, value, 4);
}

static inline void build_u64(struct gguf_build *build, uint64_t value)
{
    build_int(build, value, 8);
}

static inline void build_f32(struct gguf_build *build, float value)
{
    build_bytes(build, &value, sizeof value);
}

static inline void build_f64(struct gguf_build *build, double value)
{
    build_bytes(build, &value, sizeof value);
}

static inline void build_text_n(struct gguf_build *build, const char *bytes, size_t n_bytes)
{
    build_u64(build, n_bytes);
    build_bytes(build, bytes, n_bytes);
}

static inline void build_text(struct gguf_build *build, const char *text)
{
    build_text_n(build, text, strlen(text));
}

static inline void build_header(struct gguf_build *build, uint32_t version, uint64_t n_tensors,
                                uint64_t n_keys)
{
    build_bytes(build, "GGUF", 4);
    build_u32(build, version);
    build_u64(build, n_tensors);
    build_u64(build, n_keys);
}

/* Key and kind; the value follows. */
static inline void build_key(struct gguf_build *build, const char *key, uint32_t kind)
{
    build_text(build, key);
    build_u32(build, kind);
}

static inline void build_key_int(struct gguf_build *build, const char *key, uint32_t kind,
                                 uint64_t value, size_t n_bytes)
{
    build_key(build, key, kind);
    build_int(build, value, n_bytes);
}

static inline void build_key_u32(struct gguf_build *build, const char *key, uint32_t value)
{
    build_key_int(build, key, GGUF_U32, value, 4);
}

static inline void build_key_text(struct gguf_build *build, const char *key, const char *text)
{
    build_key(build, key, GGUF_STRING);
    build_text(build, text);
}

/* Key of an array; its items follow. */
static inline void build_array(struct gguf_build *build, const char *key, uint32_t item_kind,
                               uint64_t n_items)
{
    build_key(build, key, GGUF_ARRAY);
    build_u32(build, item_kind);
    build_u64(build, n_items);
}

static inline void build_tensor(struct gguf_build *build, const char *name, uint32_t n_dims,
                                const uint64_t *dims, uint32_t type, uint64_t offset)
{
    build_text(build, name);
    build_u32(build, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        build_u64(build, dims[i]);
    build_u32(build, type);
    build_u64(build, offset);
}

static inline void build_pad(struct gguf_build *build, size_t alignment)
{
    while (build->n_bytes % alignment)
        build_int(build, 0, 1);
}

/* n bytes that tell their place: 0, 1, 2 ... 250, 0, ... */
static inline void build_data(struct gguf_build *build, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        build_int(build, i % 251, 1);
}

/* A small right file with a key of every kind, arrays, and three tensors; ends with the last
 * byte of the last tensor, so that every cut is an error. */
static inline void build_sample(struct gguf_build *build, uint32_t version)
{
    const uint64_t norm[] = {8}, matrix[] = {64, 3}, cube[] = {256, 1, 2};
    build_header(build, version, 3, 18);
    build_key_text(build, "general.architecture", "llama");
    build_key_int(build, "k.u8", GGUF_U8, 200, 1);
    build_key_int(build, "k.i8", GGUF_I8, (uint64_t)-100, 1);
    build_key_int(build, "k.u16", GGUF_U16, 60000, 2);
    build_key_int(build, "k.i16", GGUF_I16, (uint64_t)-30000, 2);
    build_key_int(build, "k.u32", GGUF_U32, 4000000000u, 4);
    build_key_int(build, "k.i32", GGUF_I32, (uint64_t)-2000000000, 4);
    build_key_int(build, "k.u64", GGUF_U64, UINT64_MAX, 8);
    build_key_int(build, "k.i64", GGUF_I64, (uint64_t)INT64_MIN, 8);
    build_key(build, "k.f32", GGUF_F32);
    build_f32(build, 1.5e-5f);
    build_key(build, "k.f64", GGUF_F64);
    build_f64(build, 0.1);
    build_key_int(build, "k.yes", GGUF_BOOL, 1, 1);
    build_key_int(build, "k.no", GGUF_BOOL, 0, 1);
    build_array(build, "k.tokens", GGUF_STRING, 4);
    build_text(build, "a");
    build_text(build, "");
    build_text_n(build, "\xff\0b", 3);
    build_text(build, "last");
    build_array(build, "k.i32s", GGUF_I32, 3);
    build_u32(build, 7);
    build_u32(build, (uint32_t)-8);
    build_u32(build, 9);
    build_array(build, "k.f32s", GGUF_F32, 2);
    build_f32(build, 0.25f);
    build_f32(build, -2.0f);
    build_array(build, "k.none", GGUF_U8, 0);
    build_array(build, "k.flags", GGUF_BOOL, 2);
    build_int(build, 0x0001, 2);
    build_tensor(build, "output_norm.weight", 1, norm, DTYPE_F32, 0);
    build_tensor(build, "blk.0.attn_q.weight", 2, matrix, DTYPE_Q8_0, 32);
    build_tensor(build, "blk.0.ffn_exps.weight", 3, cube, DTYPE_Q4_K, 256);
    build_pad(build, 32);
    build_data(build, 256 + 2 * 144);
}

/* Reads a header out of a block of exactly its size, so that the address sanitizer sees a read of
 * a single byte too many. */
static inline enum status build_read(struct gguf *out, const void *bytes, size_t n_bytes,
                                     struct error *err)
{
    struct reader reader;
    uint8_t *exact = malloc(n_bytes ? n_bytes : 1);
    assert(exact);
    if (n_bytes)
        memcpy(exact, bytes, n_bytes);
    reader_init_memory(&reader, exact, n_bytes, err);
    enum status status = gguf_read(out, &reader, err);
    free(exact);
    return status;
}

#endif
