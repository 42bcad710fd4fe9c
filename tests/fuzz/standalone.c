/* Replays inputs through a fuzz target without libFuzzer, so that gcc alone can run the corpus.
 *
 * Each argument is a file or a folder of files. Prints how many inputs ran; none at all is a
 * failure, so that a wrong path cannot pass for a clean run. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t n_run;

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat stat_of;
    if (!file || fstat(fileno(file), &stat_of) != 0) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        return 1;
    }
    size_t size = (size_t)stat_of.st_size;
    uint8_t *data = malloc(size ? size : 1);
    int failed = !data || (size && fread(data, size, 1, file) != 1);
    if (failed)
        fprintf(stderr, "%s: cannot be read\n", path);
    else
        LLVMFuzzerTestOneInput(data, size);
    n_run += !failed;
    free(data);
    fclose(file);
    return failed;
}

static int run_path(const char *path)
{
    struct stat stat_of;
    if (stat(path, &stat_of) != 0 || !S_ISDIR(stat_of.st_mode))
        return run_file(path);
    DIR *folder = opendir(path);
    int failed = !folder;
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        failed |= run_file(name);
    }
    if (folder)
        closedir(folder);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= run_path(argv[i]);
    printf("%s: %zu inputs\n", argv[0], n_run);
    return failed || n_run == 0;
}
