/* The machine as the engine finds it; see engine_doctor.h.
 *
 * Every sentence rests on the function that the engine itself asks (cores, free memory, CPU level,
 * the sums of inspect), so that the doctor cannot be of another opinion than the patient. */
#include "engine/engine_doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/files.h"
#include "engine/base/pool.h"
#include "engine/engine_inspect.h"
#include "engine/engine_memory.h"
#include "engine/formats/hub_cache.h"
#include "engine/kernels/kernels.h"

static const double GIB = 1024.0 * 1024 * 1024;

static void find(struct doctor_report *out, enum doctor_grade grade, const char *format, ...)
    PRINTF_LIKE(3, 4);
static void find(struct doctor_report *out, enum doctor_grade grade, const char *format, ...)
{
    if (out->n_findings == DOCTOR_FINDINGS_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(out->findings[out->n_findings].text, DOCTOR_TEXT_BYTES, format, args);
    va_end(args);
    out->findings[out->n_findings++].grade = grade;
}

static void check_cpu(struct doctor_report *out)
{
    enum cpu_level level = kernels_best_level();
    const char *name = kernels_level_name(level);
    if (strcmp(name, "scalar") == 0)
        find(out, DOCTOR_BAD,
             "the CPU has no AVX2: everything works, about ten times slower than it could");
    else if (strcmp(name, "avx2") == 0)
        find(out, DOCTOR_NOTE,
             "the CPU level is avx2; a CPU with AVX-512 VNNI or AMX reads prompts faster");
    else
        find(out, DOCTOR_GOOD, "the CPU level is %s", name);
}

static void check_cores(struct doctor_report *out)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    size_t granted = pool_cores_available();
    if (online > 0 && granted < (size_t)online)
        find(out, DOCTOR_NOTE,
             "%zu of %ld cores may be used: an affinity mask or a container's CPU limit holds the "
             "others back",
             granted, online);
    else
        find(out, DOCTOR_GOOD, "%zu cores may be used", granted);
}

static void check_memory(struct doctor_report *out)
{
    double all = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double machine = (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double available = (double)memory_available();
    if (available <= 0)
        find(out, DOCTOR_NOTE,
             "the system does not say how much memory is free; the machine has "
             "%.1f GiB",
             all / GIB);
    else if (available < 0.9 * machine)
        find(out, DOCTOR_NOTE,
             "%.1f GiB of memory may be used of %.1f GiB: a control group (container) sets the "
             "limit",
             available / GIB, all / GIB);
    else
        find(out, DOCTOR_GOOD, "%.1f GiB of %.1f GiB memory are free", available / GIB, all / GIB);
}

static void check_huge_pages(struct doctor_report *out)
{
    struct buf text;
    buf_init(&text, 4096);
    enum status status = file_read(&text, "/sys/kernel/mm/transparent_hugepage/enabled", NULL);
    const char *mode = status == OK && text.bytes ? text.bytes : "";
    if (strstr(mode, "[always]") || strstr(mode, "[madvise]"))
        find(out, DOCTOR_GOOD, "transparent huge pages are on");
    else
        find(out, DOCTOR_NOTE,
             "transparent huge pages are %s: a few per cent of speed are lost; as root: echo "
             "madvise > /sys/kernel/mm/transparent_hugepage/enabled",
             strstr(mode, "[never]") ? "off" : "not there");
    buf_release(&text);
}

static void check_cache(struct doctor_report *out)
{
    char folder[FILE_PATH_BYTES], parent[FILE_PATH_BYTES];
    struct error err = {0};
    if (hub_cache_folder(folder, &err) != OK || path_print(parent, &err, "%s", folder) != OK) {
        find(out, DOCTOR_NOTE, "the folder for downloads cannot be named: %s", err.text);
        return;
    }
    while (access(parent, F_OK) != 0 && strrchr(parent, '/') > parent)
        *strrchr(parent, '/') = '\0';
    struct hub_cache cache = {0};
    snprintf(cache.cache, sizeof cache.cache, "%.1000s", parent);
    if (access(parent, W_OK) != 0)
        find(out, DOCTOR_NOTE,
             "models cannot be downloaded to %.200s: it may not be written; set "
             "HF_HOME to a folder that may",
             folder);
    else
        find(out, DOCTOR_GOOD, "downloads go to %.200s (%.1f GiB free)", folder,
             (double)hub_cache_free_bytes(&cache) / GIB);
}

static void check_model(struct doctor_report *out, const struct engine_options *options)
{
    struct inspect_report report;
    struct error err = {0};
    if (engine_inspect(&report, options, &err) != OK) {
        find(out, DOCTOR_BAD, "the model cannot be read: %s", err.text);
        return;
    }
    for (size_t i = 0; i < report.n_problems; i++)
        find(out, report.is_served ? DOCTOR_NOTE : DOCTOR_BAD, "the model: %s", report.problems[i]);
    if (!report.is_served || !report.has_memory)
        return;
    double least = (double)(report.weight_bytes + report.scratch_bytes);
    double need = least + (double)report.kv_sequence_bytes;
    double available = (double)report.available_bytes;
    if (available > 0 && least > available)
        find(out, DOCTOR_BAD,
             "the model takes %.1f GiB without any conversation, %.1f GiB are free: take a smaller "
             "one or a smaller quantisation",
             least / GIB, available / GIB);
    else if (available > 0 && need > available)
        find(out, DOCTOR_NOTE,
             "one conversation of %zu tokens takes %.1f GiB with the model, %.1f GiB are free: set "
             "a smaller --ctx-size",
             report.ctx_size, need / GIB, available / GIB);
    else
        find(out, DOCTOR_GOOD, "the model is served: %.1f GiB with one conversation of %zu tokens",
             need / GIB, report.ctx_size);
}

void engine_doctor(struct doctor_report *out, const struct engine_options *options)
{
    *out = (struct doctor_report){0};
    check_cpu(out);
    check_cores(out);
    check_memory(out);
    check_huge_pages(out);
    check_cache(out);
    if (options->model_path)
        check_model(out, options);
}
