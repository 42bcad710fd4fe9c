/* Fuzz target: the header of a safetensors file.
 *
 * Beyond "no crash" it asks of every input:
 *   - what is kept at the peak is at most ALLOCATION_FACTOR times the input;
 *   - a refused file has a status and a text of printable characters;
 *   - of an accepted one, the tensors' bytes fill the file from the header's end to its own, one
 *     behind the other, and each is as long as its shape and type say (computed here in 128 bits);
 *   - the same bytes through a file give the same answer as through memory.
 *
 * fuzz-sources: engine/base engine/formats/safetensors.c engine/formats/json_doc.c
 *               engine/formats/gguf.c engine/formats/gguf_value.c engine/formats/name_index.c
 * fuzz-libraries: -lnettle -lm -lpthread */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

enum { ALLOCATION_FACTOR = 128, ALLOCATION_BYTES = 1 << 17 };

static void check_entries(const struct safetensors *file, uint64_t header_bytes, size_t size)
{
    uint64_t at = 8 + header_bytes;
    for (size_t i = 0; i < file->n_entries; i++) {
        const struct safetensors_entry *entry = &file->entries[i];
        unsigned __int128 bytes = safetensors_type_bytes(entry->type);
        FUZZ_CHECK(entry->n_dims <= SAFETENSORS_DIMS_MAX);
        for (size_t j = 0; j < SAFETENSORS_DIMS_MAX; j++) {
            FUZZ_CHECK(j < entry->n_dims || entry->dims[j] == 1);
            FUZZ_CHECK(entry->dims[j] <= SAFETENSORS_DIM_MAX);
            if (bytes <= (unsigned __int128)1 << 80)
                bytes *= entry->dims[j];
        }
        FUZZ_CHECK(bytes == entry->bytes && entry->offset == at);
        FUZZ_CHECK(strlen(entry->name) >= 1 && strlen(entry->name) <= SAFETENSORS_NAME_BYTES_MAX);
        at += entry->bytes;
    }
    FUZZ_CHECK(at == size);
}

static enum status read_memory(const uint8_t *data, size_t size)
{
    struct reader reader;
    struct safetensors file;
    struct error err = {0};
    reader_init_memory(&reader, data, size, &err);
    fuzz_allocation_start();
    enum status status = safetensors_read(&file, &reader, &err);
    FUZZ_CHECK(fuzz_allocation_peak() <= ALLOCATION_FACTOR * size + ALLOCATION_BYTES);
    FUZZ_CHECK(status == err.status);
    if (status) {
        FUZZ_CHECK(err.text[0] != '\0');
        for (const char *c = err.text; *c; c++)
            FUZZ_CHECK(*c >= 0x20 && *c < 0x7f);
    } else {
        uint64_t header_bytes;
        memcpy(&header_bytes, data, 8);
        check_entries(&file, header_bytes, size);
    }
    safetensors_release(&file);
    return status;
}

static enum status read_file(const uint8_t *data, size_t size)
{
    struct reader reader;
    struct safetensors file = {0};
    struct error err = {0};
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size)) {
        close(fd);
        return ERR_INTERNAL;
    }
    enum status status = reader_init_file(&reader, fd, size, &err);
    if (!status)
        status = safetensors_read(&file, &reader, &err);
    reader_release(&reader);
    safetensors_release(&file);
    close(fd);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum status status = read_memory(data, size);
    if (status == OK || size % 16 == 0) {
        enum status of_file = read_file(data, size);
        FUZZ_CHECK(of_file == status || of_file == ERR_INTERNAL);
    }
    return 0;
}

/* The header's length is set right half of the time, so that the JSON behind it is seen. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    size = fuzz_mutate(data, size, max_size);
    const uint8_t *end = size > 8 ? memrchr(data + 8, '}', size - 8) : NULL;
    if (end && seed % 2) {
        uint64_t n = (uint64_t)(end - data) + 1 - 8;
        memcpy(data, &n, sizeof n);
    }
    return size;
}
