/* The machine's memory, its failures, lists, dicts, and equality, order and truth of values.
 *
 * Dicts keep insertion order in an array and find keys through open addressing; the hash is seeded
 * per render, so that the names in a request cannot be chosen to collide. Recursion over nested
 * values is bounded by VALUE_DEPTH_MAX, since a template can nest what it builds. Python's rules
 * decide: True == 1 == 1.0, an undefined value equals every other undefined value. */
#include "engine/template/jinja_value.h"

#include <stdarg.h>

#include "engine/template/jinja.h"
#include "engine/template/jinja_iter.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_text.h"

/* ---- machine ---- */

void jinja_fail(struct jinja *j, enum status status, const char *format, ...)
{
    char message[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    j->status = status;
    if (j->line)
        error_set(j->err, status, "chat template, line %u: %s", (unsigned)j->line, message);
    else
        error_set(j->err, status, "chat template: %s", message);
    longjmp(j->fail_to, 1);
}

void *jinja_alloc(struct jinja *j, size_t bytes)
{
    void *memory = arena_alloc(&j->arena, bytes);
    if (memory)
        return memory;
    size_t left = j->arena.bytes_max - j->arena.bytes;
    if (bytes > left || left - bytes < 16)  // it rounds up
        jinja_fail(j, ERR_LIMIT, "needs more than %zu bytes of memory", j->arena.bytes_max);
    jinja_fail(j, ERR_MEMORY, "out of memory");
}

void *jinja_alloc_array(struct jinja *j, size_t count, size_t bytes)
{
    size_t total;
    if (!size_mul(count, bytes, &total))
        jinja_fail(j, ERR_LIMIT, "needs more than %zu bytes of memory", j->arena.bytes_max);
    return jinja_alloc(j, total);
}

void jinja_step(struct jinja *j, size_t n)
{
    uint64_t cost = 1 + n / 256;
    if (cost > j->steps_left)
        jinja_fail(j, ERR_LIMIT, "takes more steps than the limit of %d", JINJA_STEPS_MAX);
    j->steps_left -= cost;
}

struct value value_pair(struct jinja *j, struct value first, struct value second)
{
    struct list *list = list_create(j, 2);
    list_append(j, list, first);
    list_append(j, list, second);
    return value_tuple(list);
}

/* ---- lists ---- */

struct list *list_create(struct jinja *j, size_t capacity)
{
    struct list *list = jinja_alloc(j, sizeof *list);
    if (capacity) {
        list->items = jinja_alloc_array(j, capacity, sizeof *list->items);
        list->capacity = (uint32_t)capacity;
    }
    return list;
}

void list_append(struct jinja *j, struct list *list, struct value item)
{
    if (list->n_items == list->capacity) {
        size_t capacity = list->capacity ? (size_t)list->capacity * 2 : 4;
        struct value *items = jinja_alloc_array(j, capacity, sizeof *items);
        if (list->n_items)
            memcpy(items, list->items, list->n_items * sizeof *items);
        list->items = items;
        list->capacity = (uint32_t)capacity;
    }
    list->items[list->n_items++] = item;
}

/* ---- dicts ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t hash_bytes(uint64_t h, const char *bytes, size_t n)
{
    h = mix(h, n);
    for (; n >= 8; n -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        h = mix(h, word);
    }
    uint64_t tail = 0;
    if (n)
        memcpy(&tail, bytes, n);
    return mix(h, tail);
}

static uint64_t hash_real(uint64_t h, double f)
{
    if (f >= -9.2e18 && f <= 9.2e18 && f == (double)(int64_t)f)
        return mix(h, (uint64_t)(int64_t)f);
    uint64_t bits;
    memcpy(&bits, &f, sizeof bits);
    return mix(h, bits);
}

static bool hashable_at(struct jinja *j, struct value v, int depth)
{
    if (v.kind == VALUE_LIST || v.kind == VALUE_DICT || v.kind == VALUE_VIEW)
        return false;
    if (v.kind != VALUE_TUPLE)
        return true;
    for (size_t i = 0; i < v.list->n_items; i++) {
        jinja_step(j, 0);
        if (depth > VALUE_DEPTH_MAX || !hashable_at(j, v.list->items[i], depth + 1))
            return false;
    }
    return true;
}

bool value_is_hashable(struct jinja *j, struct value v)
{
    return hashable_at(j, v, 0);
}

static uint64_t hash_of(struct jinja *j, struct value v, int depth)
{
    uint64_t h = mix(j->hash_seed, v.kind);
    switch (v.kind) {
    case VALUE_TEXT:
    case VALUE_BIG:
        return hash_bytes(h, v.text->bytes, v.text->n_bytes);
    case VALUE_BOOL:
        return mix(j->hash_seed, (uint64_t)v.boolean);
    case VALUE_INT:
        return mix(j->hash_seed, (uint64_t)v.integer);
    case VALUE_FLOAT:
        return hash_real(j->hash_seed, v.real);
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return h;
    case VALUE_TUPLE:
        if (depth > 2)
            return h;
        for (size_t i = 0; i < v.list->n_items && i < 64; i++)
            h = mix(h, hash_of(j, v.list->items[i], depth + 1));
        return h;
    default:
        return mix(h, (uint64_t)(uintptr_t)v.list);
    }
}

/* Also counts what hashing a long key costs. */
static void check_hashable(struct jinja *j, struct value key)
{
    if (key.kind == VALUE_TEXT && key.text->n_bytes > 256)
        jinja_step(j, key.text->n_bytes);
    if (!value_is_hashable(j, key))
        jinja_fail(j, ERR_INVALID, "unhashable type: '%s'", value_type_name(key));
}

struct dict *dict_create(struct jinja *j, size_t capacity)
{
    struct dict *dict = jinja_alloc(j, sizeof *dict);
    if (capacity) {
        dict->entries = jinja_alloc_array(j, capacity, sizeof *dict->entries);
        dict->capacity = (uint32_t)capacity;
    }
    return dict;
}

/* Small dicts are searched in a row; an index pays from about nine entries on. */
enum { DICT_ROW_MAX = 8 };

static void dict_index_add(struct dict *dict, uint32_t entry)
{
    uint32_t mask = dict->n_slots - 1;
    uint32_t slot = (uint32_t)dict->entries[entry].hash & mask;
    while (dict->slots[slot])
        slot = (slot + 1) & mask;
    dict->slots[slot] = entry + 1;
}

static void dict_reindex(struct jinja *j, struct dict *dict, uint32_t n_slots)
{
    dict->slots = jinja_alloc_array(j, n_slots, sizeof *dict->slots);
    dict->n_slots = n_slots;
    for (uint32_t i = 0; i < dict->n_entries; i++)
        dict_index_add(dict, i);
}

static bool key_matches(struct jinja *j, const struct dict_entry *entry, struct value key,
                        uint64_t hash)
{
    if (entry->hash != hash)
        return false;
    if (key.kind == VALUE_TEXT && entry->key.kind == VALUE_TEXT)
        return text_same(key.text, entry->key.text);
    return value_equal(j, entry->key, key);
}

static struct dict_entry *dict_lookup(struct jinja *j, const struct dict *dict, struct value key,
                                      uint64_t hash)
{
    if (!dict->n_slots) {
        for (uint32_t i = 0; i < dict->n_entries; i++) {
            if (key_matches(j, &dict->entries[i], key, hash))
                return &dict->entries[i];
        }
        return NULL;
    }
    uint32_t mask = dict->n_slots - 1;
    for (uint32_t slot = (uint32_t)hash & mask; dict->slots[slot]; slot = (slot + 1) & mask) {
        struct dict_entry *entry = &dict->entries[dict->slots[slot] - 1];
        if (key_matches(j, entry, key, hash))
            return entry;
    }
    return NULL;
}

struct value *dict_find(struct jinja *j, const struct dict *dict, struct value key)
{
    check_hashable(j, key);
    struct dict_entry *entry = dict_lookup(j, dict, key, hash_of(j, key, 0));
    return entry ? &entry->value : NULL;
}

struct value *dict_find_name(struct jinja *j, const struct dict *dict, const char *name)
{
    struct text text = {.bytes = name, .n_bytes = (uint32_t)strlen(name)};
    return dict_find(j, dict, value_text(&text));
}

void dict_set(struct jinja *j, struct dict *dict, struct value key, struct value item)
{
    check_hashable(j, key);
    uint64_t hash = hash_of(j, key, 0);
    struct dict_entry *entry = dict_lookup(j, dict, key, hash);
    if (entry) {
        entry->value = item;
        return;
    }
    if (dict->n_entries == dict->capacity) {
        size_t capacity = dict->capacity ? (size_t)dict->capacity * 2 : 4;
        struct dict_entry *entries = jinja_alloc_array(j, capacity, sizeof *entries);
        if (dict->n_entries)
            memcpy(entries, dict->entries, dict->n_entries * sizeof *entries);
        dict->entries = entries;
        dict->capacity = (uint32_t)capacity;
    }
    dict->entries[dict->n_entries++] = (struct dict_entry){key, item, hash};
    if (dict->n_entries <= DICT_ROW_MAX)
        return;
    if (dict->n_slots < dict->n_entries * 2)
        dict_reindex(j, dict, dict->n_slots ? dict->n_slots * 2 : 32);
    else
        dict_index_add(dict, dict->n_entries - 1);
}

void dict_set_name(struct jinja *j, struct dict *dict, const char *name, struct value item)
{
    dict_set(j, dict, value_text(text_literal(j, name)), item);
}

/* ---- equality, order, truth ---- */

const char *value_type_name(struct value v)
{
    static const char *const names[] = {
#define X(name, text) text,
        VALUE_LIST_OF_KINDS(X)
#undef X
    };
    return names[v.kind];
}

static bool equal_at(struct jinja *j, struct value a, struct value b, int depth);

static bool dict_equal(struct jinja *j, const struct dict *a, const struct dict *b, int depth)
{
    if (a->n_entries != b->n_entries)
        return false;
    for (uint32_t i = 0; i < a->n_entries; i++) {
        struct value *other = dict_find(j, b, a->entries[i].key);
        if (!other || !equal_at(j, a->entries[i].value, *other, depth + 1))
            return false;
    }
    return true;
}

static bool range_equal(const struct range *a, const struct range *b)
{
    if (a->n_items != b->n_items || a->n_items == 0)
        return a->n_items == b->n_items;
    return a->start == b->start && (a->n_items == 1 || a->step == b->step);
}

/* dict.keys() and dict.items() compare as sets, dict.values() by identity, which containers look at
 * first; views have none here, so within a container the same dict will do. */
static bool view_equal(struct jinja *j, struct value a, struct value b, int depth)
{
    if (a.detail != b.detail)
        return false;
    if (a.detail == VIEW_VALUES)
        return depth > 0 && a.dict == b.dict;
    if (a.dict->n_entries != b.dict->n_entries)
        return false;
    for (uint32_t i = 0; i < a.dict->n_entries; i++) {
        struct value *other = dict_find(j, b.dict, a.dict->entries[i].key);
        if (!other ||
            (a.detail == VIEW_ITEMS && !equal_at(j, a.dict->entries[i].value, *other, depth + 1)))
            return false;
    }
    return true;
}

static bool equal_at(struct jinja *j, struct value a, struct value b, int depth)
{
    jinja_step(j, 0);
    if (depth > VALUE_DEPTH_MAX)
        jinja_fail(j, ERR_LIMIT, "a value is nested deeper than %d", VALUE_DEPTH_MAX);
    if (value_is_number(a) && value_is_number(b))
        return number_order(a, b) == 0;
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case VALUE_MISSING:
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return true;
    case VALUE_TEXT:
        jinja_step(j, a.text->n_bytes);
        return text_same(a.text, b.text);
    case VALUE_LIST:
    case VALUE_TUPLE:
        if (a.list->n_items != b.list->n_items)
            return false;
        for (uint32_t i = 0; i < a.list->n_items; i++) {
            if (!equal_at(j, a.list->items[i], b.list->items[i], depth + 1))
                return false;
        }
        return true;
    case VALUE_DICT:
        return dict_equal(j, a.dict, b.dict, depth);
    case VALUE_RANGE:
        return range_equal(a.range, b.range);
    case VALUE_VIEW:
        return view_equal(j, a, b, depth);
    case VALUE_METHOD:
        return a.method->info == b.method->info &&
               equal_at(j, a.method->self, b.method->self, depth + 1);
    default:
        return a.list == b.list;  // identity: the union holds a pointer
    }
}

bool value_equal(struct jinja *j, struct value a, struct value b)
{
    return equal_at(j, a, b, 0);
}

static int text_order(const struct text *a, const struct text *b)
{
    /* Byte order of UTF-8 is code point order. */
    size_t n = a->n_bytes < b->n_bytes ? a->n_bytes : b->n_bytes;
    int c = n ? memcmp(a->bytes, b->bytes, n) : 0;
    if (c)
        return c < 0 ? -1 : 1;
    return a->n_bytes < b->n_bytes ? -1 : a->n_bytes > b->n_bytes;
}

static int order_at(struct jinja *j, struct value a, struct value b, const char *op, int depth)
{
    jinja_step(j, 0);
    if (depth > VALUE_DEPTH_MAX)
        jinja_fail(j, ERR_LIMIT, "a value is nested deeper than %d", VALUE_DEPTH_MAX);
    if (value_is_undefined(a))
        value_fail_undefined(j, a);
    if (value_is_undefined(b))
        value_fail_undefined(j, b);
    if (value_is_number(a) && value_is_number(b))
        return number_order(a, b);
    if (a.kind == VALUE_TEXT && b.kind == VALUE_TEXT) {
        jinja_step(j, a.text->n_bytes);
        return text_order(a.text, b.text);
    }
    if (a.kind == b.kind && value_is_sequence_of_items(a)) {
        for (uint32_t i = 0; i < a.list->n_items && i < b.list->n_items; i++) {
            if (!equal_at(j, a.list->items[i], b.list->items[i], depth + 1))
                return order_at(j, a.list->items[i], b.list->items[i], op, depth + 1);
        }
        return a.list->n_items < b.list->n_items ? -1 : a.list->n_items > b.list->n_items;
    }
    jinja_fail(j, ERR_INVALID, "'%s' not supported between '%s' and '%s'", op, value_type_name(a),
               value_type_name(b));
}

int value_order(struct jinja *j, struct value a, struct value b, const char *op)
{
    return order_at(j, a, b, op, 0);
}

bool value_length(struct jinja *j, struct value v, int64_t *out)
{
    switch (v.kind) {
    case VALUE_UNDEFINED:
        *out = 0;
        return true;
    case VALUE_TEXT:
        *out = (int64_t)text_chars(v.text);
        return true;
    case VALUE_LIST:
    case VALUE_TUPLE:
        *out = v.list->n_items;
        return true;
    case VALUE_DICT:
    case VALUE_VIEW:
        *out = v.dict->n_entries;
        return true;
    case VALUE_RANGE:
        *out = v.range->n_items;
        return true;
    case VALUE_LOOP:
        *out = loop_length(j, v.loop);
        return true;
    default:
        return false;
    }
}

bool value_truth(struct jinja *j, struct value v)
{
    int64_t length;
    switch (v.kind) {
    case VALUE_NONE:
    case VALUE_MISSING:
        return false;
    case VALUE_BOOL:
        return v.boolean;
    case VALUE_INT:
        return v.integer != 0;
    case VALUE_FLOAT:
        return v.real != 0;
    case VALUE_TEXT:
        return v.text->n_bytes > 0;
    default:
        return value_length(j, v, &length) ? length != 0 : true;
    }
}

void value_fail_undefined(struct jinja *j, struct value v)
{
    struct value owner = {.kind = v.owner};
    switch (v.detail) {
    case UNDEFINED_HINT:
        jinja_fail(j, ERR_INVALID, "%s", v.hint);
    case UNDEFINED_NAME:
        jinja_fail(j, ERR_INVALID, "'%.*s' is undefined", (int)v.text->n_bytes, v.text->bytes);
    case UNDEFINED_UNSAFE:
        jinja_fail(j, ERR_INVALID, "attribute '%.*s' of '%s' is not allowed", (int)v.text->n_bytes,
                   v.text->bytes, value_type_name(owner));
    case UNDEFINED_ELEMENT:
        jinja_fail(j, ERR_INVALID, "'%s' has no such element", value_type_name(owner));
    default:
        jinja_fail(j, ERR_INVALID, "'%s' has no attribute '%.*s'", value_type_name(owner),
                   (int)v.text->n_bytes, v.text->bytes);
    }
}
