/* Fuzz target: the hub's answer about a repository and Ollama's manifests.
 *
 * The bytes are the JSON text. What is accepted is held against a second reading of the rules for
 * names: each part by itself, no part that leaves the folder. Every choice among the files must be
 * made of files that are there, without doubles, the first part of a set first; and a blob's name
 * must be a plain digest.
 *
 * fuzz-sources: engine/base engine/formats/hub_list.c engine/formats/hub_name.c
 * fuzz-libraries: -lcjson -lnettle -lm -lpthread */
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "engine/formats/hub_list.h"
#include "engine/formats/hub_name.h"
#include "tests/fuzz/fuzz.h"

/* Follows the path part by part and never goes above its start. */
static bool stays_below(const char *file)
{
    char part[2048];
    size_t n = 0;
    if (file[0] == '/' || strlen(file) > HUB_FILE_BYTES_MAX)
        return false;
    for (const char *at = file;; at++) {
        if (*at != '/' && *at != '\0') {
            if ((unsigned char)*at < 32 || *at == 127 || *at == '\\')
                return false;
            part[n++] = *at;
            continue;
        }
        part[n] = '\0';
        if (n == 0 || n > 255 || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
            return false;
        n = 0;
        if (*at == '\0')
            return true;
    }
}

static bool is_listed(const struct hub_list *list, const char *file)
{
    bool found = false;
    for (size_t i = 0; i < list->files.n_names; i++)
        found |= strcmp(list->files.names[i], file) == 0;
    return found;
}

static void check_choice(const struct hub_list *list, const char *text)
{
    struct hub_name name;
    struct hub_choice choice;
    struct error err = {0};
    FUZZ_CHECK(hub_name_parse(&name, text, NULL) == OK);
    enum status status = hub_choose(&choice, &list->files, &name, NULL, &err);
    FUZZ_CHECK((status == OK) == (choice.files.n_names > 0));
    FUZZ_CHECK((status == OK) == (err.text[0] == '\0'));
    for (size_t i = 0; i < choice.files.n_names; i++) {
        FUZZ_CHECK(is_listed(list, choice.files.names[i]));
        for (size_t j = 0; j < i; j++)
            FUZZ_CHECK(strcmp(choice.files.names[i], choice.files.names[j]) != 0);
    }
    if (status == OK && choice.is_gguf) {
        size_t number = 1, count = 1;
        (void)!hub_split_numbers(choice.files.names[0], &number, &count);
        FUZZ_CHECK(choice.files.n_names == 1 || choice.files.n_names == count);
    }
    hub_choice_release(&choice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hub_list list;
    struct ollama_model model;
    struct error err = {0};
    if (hub_list_parse(&list, (const char *)data, size, &err) == OK) {
        FUZZ_CHECK(strlen(list.commit) == 40 || strlen(list.commit) == 64);
        for (const char *at = list.commit; *at; at++)
            FUZZ_CHECK(isdigit((unsigned char)*at) || (*at >= 'a' && *at <= 'f'));
        for (size_t i = 0; i < list.files.n_names; i++) {
            char label[HUB_QUANT_BYTES_MAX + 1];
            FUZZ_CHECK(stays_below(list.files.names[i]));
            FUZZ_CHECK(i == 0 || strcmp(list.files.names[i - 1], list.files.names[i]) < 0);
            hub_quant_label(label, list.files.names[i]);
            FUZZ_CHECK(strlen(label) <= HUB_QUANT_BYTES_MAX && !strchr(label, '/'));
        }
        check_choice(&list, "a/b");
        check_choice(&list, "a/b:Q4_K_M");
        check_choice(&list, "a/b:Q8_0");
        hub_list_release(&list);
    } else {
        FUZZ_CHECK(err.text[0] != '\0' && list.files.names == NULL);
    }
    if (ollama_manifest_parse(&model, (const char *)data, size, NULL) == OK) {
        FUZZ_CHECK(strlen(model.blob) == 71 && strncmp(model.blob, "sha256-", 7) == 0);
        FUZZ_CHECK(!strchr(model.blob, '/') && !strchr(model.blob, '.'));
    }
    return 0;
}
