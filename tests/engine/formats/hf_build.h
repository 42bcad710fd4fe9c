/* Writes checkpoint directories for tests: plain files and safetensors, right ones and wrong ones.
 * Nothing is checked here: a test says exactly which bytes it wants. */
#ifndef WICARA_TESTS_HF_BUILD_H
#define WICARA_TESTS_HF_BUILD_H

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"

/* A directory of its own under /tmp; removed with all its files by hf_dir_remove. */
struct hf_dir {
    char path[64];
};

static inline void hf_dir_make(struct hf_dir *dir)
{
    snprintf(dir->path, sizeof dir->path, "/tmp/wicara-hf-XXXXXX");
    char *made = mkdtemp(dir->path);
    assert(made);
    (void)made;
}

static inline void hf_dir_remove(const struct hf_dir *dir)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", dir->path);
    int status = system(command);
    assert(status == 0);
    (void)status;
}

static inline void hf_dir_write(const struct hf_dir *dir, const char *name, const void *bytes,
                                size_t n_bytes)
{
    char path[320];
    snprintf(path, sizeof path, "%s/%s", dir->path, name);
    FILE *file = fopen(path, "wb");
    assert(file);
    size_t written = fwrite(bytes, 1, n_bytes, file);
    assert(written == n_bytes);
    (void)written;
    fclose(file);
}

static inline void hf_dir_text(const struct hf_dir *dir, const char *name, const char *text)
{
    hf_dir_write(dir, name, text, strlen(text));
}

/* A safetensors file in the making. */
struct st_build {
    struct buf header, data;
};

static inline void st_init(struct st_build *build)
{
    buf_init(&build->header, 1 << 24);
    buf_init(&build->data, 1 << 28);
}

/* `shape` as in "[2, 3]". */
static inline void st_tensor(struct st_build *build, const char *name, const char *dtype,
                             const char *shape, const void *bytes, size_t n_bytes)
{
    buf_printf(&build->header,
               "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
               build->header.n_bytes ? "," : "", name, dtype, shape, build->data.n_bytes,
               build->data.n_bytes + n_bytes);
    buf_append(&build->data, bytes, n_bytes);
}

/* Header of the length, braces around the tensors, data. */
static inline void st_finish(struct st_build *build, struct buf *file)
{
    uint64_t n = build->header.n_bytes + 2;
    buf_init(file, 1 << 28);
    buf_append(file, &n, sizeof n);
    buf_append_char(file, '{');
    buf_append(file, build->header.bytes, build->header.n_bytes);
    buf_append_char(file, '}');
    buf_append(file, build->data.bytes, build->data.n_bytes);
    buf_release(&build->header);
    buf_release(&build->data);
}

static inline void st_write(struct st_build *build, const struct hf_dir *dir, const char *name)
{
    struct buf file;
    st_finish(build, &file);
    hf_dir_write(dir, name, file.bytes, file.n_bytes);
    buf_release(&file);
}

/* A file from a header given as text, for wrong ones. */
static inline void st_raw(struct buf *file, const char *header, size_t n_data)
{
    uint64_t n = strlen(header);
    buf_init(file, 1 << 24);
    buf_append(file, &n, sizeof n);
    buf_append_text(file, header);
    for (size_t i = 0; i < n_data; i++)
        buf_append_char(file, (char)i);
}

#endif
