/* Values of the template interpreter, and the machine that owns their memory.
 *
 * Everything a compile or a render makes lives in the one arena of its machine and is freed at
 * once, so there is no reference counting. A failure anywhere below jinja_open() or jinja_render()
 * leaves through jinja_fail(), which jumps back to that entry: nothing but the arena and the output
 * buffer is held, and both belong to the entry. Values made at compile time are constants that
 * several renders read at once and never change. */
#ifndef WICARA_TEMPLATE_JINJA_VALUE_H
#define WICARA_TEMPLATE_JINJA_VALUE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/mem.h"
#include "engine/base/prompt_text.h"

/* name, Python's name of the type */
#define VALUE_LIST_OF_KINDS(X)                                                                     \
    X(MISSING, "missing")                                                                          \
    X(UNDEFINED, "Undefined")                                                                      \
    X(NONE, "NoneType")                                                                            \
    X(BOOL, "bool")                                                                                \
    X(INT, "int")                                                                                  \
    X(BIG, "int")                                                                                  \
    X(FLOAT, "float")                                                                              \
    X(TEXT, "str")                                                                                 \
    X(LIST, "list")                                                                                \
    X(TUPLE, "tuple")                                                                              \
    X(DICT, "dict")                                                                                \
    X(RANGE, "range")                                                                              \
    X(VIEW, "dict view")                                                                           \
    X(ITER, "generator")                                                                           \
    X(NAMESPACE, "Namespace")                                                                      \
    X(MACRO, "Macro")                                                                              \
    X(LOOP, "LoopContext")                                                                         \
    X(METHOD, "method")                                                                            \
    X(FUNCTION, "function")                                                                        \
    X(CYCLER, "Cycler")                                                                            \
    X(JOINER, "Joiner")

enum value_kind {
#define X(name, text) VALUE_##name,
    VALUE_LIST_OF_KINDS(X)
#undef X
};

struct node;
struct scope;
struct loop;
struct iter;
struct method_info;
struct function_info;

enum taint { TAINT_NONE, TAINT_ALL, TAINT_SOME };

/* An immutable string, UTF-8. A view: the bytes may belong to another text or to the request. */
struct text {
    const char *bytes;
    uint32_t n_bytes;
    uint32_t n_chars;               // code points; TEXT_CHARS_UNKNOWN until asked for
    const struct text_span *spans;  // TAINT_SOME only: untrusted bytes; `last` may pass n_bytes
    uint32_t n_spans;
    uint8_t taint;           // enum taint: which bytes came from the request
    bool markup;             // made by |safe or |escape: + and some methods escape the rest
    struct text_tail *tail;  // growable memory that `bytes` lies in, or NULL
};
#define TEXT_CHARS_UNKNOWN UINT32_MAX

struct value {
    uint8_t kind;    // enum value_kind
    bool untrusted;  // BOOL, INT, FLOAT, BIG: came from the request
    uint8_t detail;  // UNDEFINED: enum undefined_reason; VIEW: enum view_kind
    uint8_t owner;   // UNDEFINED: enum value_kind of the object that lacks the attribute
    union {
        bool boolean;
        int64_t integer;
        double real;
        const struct text *text;  // TEXT, BIG; UNDEFINED: the name, or NULL
        const char *hint;         // UNDEFINED with a reason of its own
        struct list *list;        // LIST, TUPLE
        struct dict *dict;        // DICT, NAMESPACE, VIEW
        struct range *range;
        struct iter *iter;
        struct macro *macro;
        struct loop *loop;
        struct bound_method *method;
        const struct function_info *function;
        struct cycler *cycler;
        struct joiner *joiner;
    };
};

enum undefined_reason {
    UNDEFINED_NAME,
    UNDEFINED_ATTRIBUTE,
    UNDEFINED_ELEMENT,
    UNDEFINED_HINT,
    UNDEFINED_UNSAFE
};
enum view_kind { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };

struct list {
    struct value *items;
    uint32_t n_items, capacity;
};

struct dict_entry {
    struct value key, value;
    uint64_t hash;
};
/* Insertion order. `slots` holds entry + 1, 0 = free; open addressing, a power of two. */
struct dict {
    struct dict_entry *entries;
    uint32_t n_entries, capacity;
    uint32_t *slots;
    uint32_t n_slots;
};

struct range {
    int64_t start, stop, step;
    int64_t n_items;
};
struct macro {
    const struct node *node;  // STMT_MACRO or STMT_CALL
    struct scope *scope;      // where it was defined
};
struct bound_method {
    struct value self;
    const struct method_info *info;
};
struct cycler {
    struct list *items;
    uint32_t position;
};
struct joiner {
    const struct text *separator;
    bool used;
};

/* The machine: one for a compile, one for each render. Not shared between threads. */
struct jinja {
    struct arena arena;
    jmp_buf fail_to;
    struct error *err;
    enum status status;
    const char *stage;  // "chat template" in messages
    uint32_t line;      // of what is being worked on, 0 = none
    uint64_t steps_left;
    uint32_t eval_depth;  // nested evaluations on the C stack
    uint32_t call_depth;  // nested macro calls
    uint64_t hash_seed;   // names of a request cannot be made to collide
    /* render only */
    const struct jinja_template *code;
    struct dict *variables;
    struct scope *scope;
    struct text_builder *capture;  // innermost {% set %} block, macro ...; NULL = the output
    struct jinja_output *out;
    int64_t now_unix_s;
};

_Noreturn void jinja_fail(struct jinja *j, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Memory of the machine, zeroed, never NULL. */
void *jinja_alloc(struct jinja *j, size_t bytes);
void *jinja_alloc_array(struct jinja *j, size_t count, size_t bytes);
/* Counts one step, and one more for each 256 bytes that are copied or compared. Work that looks at
 * every character counts its bytes JINJA_WALK_COST times. */
void jinja_step(struct jinja *j, size_t n);
enum { JINJA_WALK_COST = 4 };

/* ---- constructors ---- */

static inline struct value value_none(void)
{
    return (struct value){.kind = VALUE_NONE};
}
static inline struct value value_bool(bool b)
{
    return (struct value){.kind = VALUE_BOOL, .boolean = b};
}
static inline struct value value_int(int64_t i)
{
    return (struct value){.kind = VALUE_INT, .integer = i};
}
static inline struct value value_float(double f)
{
    return (struct value){.kind = VALUE_FLOAT, .real = f};
}
static inline struct value value_text(const struct text *text)
{
    return (struct value){.kind = VALUE_TEXT, .text = text};
}
static inline struct value value_list(struct list *list)
{
    return (struct value){.kind = VALUE_LIST, .list = list};
}
static inline struct value value_tuple(struct list *list)
{
    return (struct value){.kind = VALUE_TUPLE, .list = list};
}
static inline struct value value_dict(struct dict *dict)
{
    return (struct value){.kind = VALUE_DICT, .dict = dict};
}
static inline struct value value_iter(struct iter *iter)
{
    return (struct value){.kind = VALUE_ITER, .iter = iter};
}
static inline struct value value_undefined_hint(const char *hint)
{
    return (struct value){.kind = VALUE_UNDEFINED, .detail = UNDEFINED_HINT, .hint = hint};
}
static inline struct value value_missing(void)
{
    return (struct value){.kind = VALUE_MISSING};
}
static inline bool value_is_undefined(struct value v)
{
    return v.kind == VALUE_UNDEFINED;
}
/* BOOL counts: it is a number in Python. */
static inline bool value_is_number(struct value v)
{
    return v.kind >= VALUE_BOOL && v.kind <= VALUE_FLOAT;
}
static inline bool value_is_sequence_of_items(struct value v)
{
    return v.kind == VALUE_LIST || v.kind == VALUE_TUPLE;
}

struct value value_pair(struct jinja *j, struct value first, struct value second);  // a tuple

/* ---- lists and dicts ---- */

struct list *list_create(struct jinja *j, size_t capacity);
void list_append(struct jinja *j, struct list *list, struct value item);

struct dict *dict_create(struct jinja *j, size_t capacity);
/* Fails for a key that Python cannot hash. */
void dict_set(struct jinja *j, struct dict *dict, struct value key, struct value item);
void dict_set_name(struct jinja *j, struct dict *dict, const char *name, struct value item);
/* NULL when there is none. */
struct value *dict_find(struct jinja *j, const struct dict *dict, struct value key);
struct value *dict_find_name(struct jinja *j, const struct dict *dict, const char *name);

/* ---- what every value can do ---- */

const char *value_type_name(struct value v);
bool value_truth(struct jinja *j, struct value v);
bool value_is_hashable(struct jinja *j, struct value v);
bool value_equal(struct jinja *j, struct value a, struct value b);
/* -1, 0, 1, or 2 when unordered (NaN); fails for types that Python does not order. `op` is for the
 * message. */
int value_order(struct jinja *j, struct value a, struct value b, const char *op);
/* Python's len(); false when the value has none. */
bool value_length(struct jinja *j, struct value v, int64_t *out);
/* Fails with what jinja2 says of an undefined value that is used. */
_Noreturn void value_fail_undefined(struct jinja *j, struct value v);

enum { VALUE_DEPTH_MAX = 100 };  // nesting of values in comparisons, repr and JSON

#endif
