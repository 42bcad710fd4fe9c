/* The matchers of the pre-tokenizers and the shapes that are made of them; see pretokenize.h.
 *
 * Each matcher states the regular expression that it stands for and tries the alternatives in their
 * order, so that it finds what a backtracking engine finds, in linear time and without a stack. In
 * the comments L, M, N, P, S stand for \p{L} ... and C for (?i:'s|'t|'re|'ve|'m|'ll|'d).
 *
 * Source: the tokenizer.json files of the models; checked against the `tokenizers` library by
 * tests/golden/tokenizer/compare.py. */
#include "engine/tokenizer/pretokenize_shapes.h"

#include <string.h>

#include "engine/tokenizer/pretokenize_ranges.h"
#include "engine/tokenizer/unicode.h"

/* Sets of classes, a bit a class. */
enum {
    UPPER_ONLY = 1 << CHAR_LU | 1 << CHAR_LT,
    LOWER_ONLY = 1 << CHAR_LL,
    EITHER_CASE = 1 << CHAR_LM | 1 << CHAR_LO,
    LETTER = UPPER_ONLY | LOWER_ONLY | EITHER_CASE,
    MARK = 1 << CHAR_M,
    NUMBER = 1 << CHAR_N,
    DIGIT = NUMBER | 1 << CHAR_N_NEWER,
    PUNCT = 1 << CHAR_P,
    SYMBOL = 1 << CHAR_S,
    SPACE = 1 << CHAR_SPACE,
    ANY = (1 << CHAR_CLASSES) - 1,
};

static inline bool is_in(uint32_t unit, unsigned set)
{
    return set >> unit_class(unit) & 1;
}

static inline bool is_newline(uint32_t unit)
{
    return unit_code(unit) == '\n' || unit_code(unit) == '\r';
}

/* [set]* */
static inline size_t run(const uint32_t *units, size_t at, size_t end, unsigned set)
{
    while (at < end && is_in(units[at], set))
        at++;
    return at;
}

/* [set]{0,most} */
static inline size_t short_run(const uint32_t *units, size_t at, size_t end, unsigned set,
                               size_t most)
{
    return run(units, at, end - at < most ? end : at + most, set);
}

/* [\r\n]* */
static inline size_t newlines(const uint32_t *units, size_t at, size_t end)
{
    while (at < end && is_newline(units[at]))
        at++;
    return at;
}

/* " ?[set]+" */
static inline size_t spaced_run(const uint32_t *units, size_t at, size_t end, unsigned set)
{
    size_t first = at + (unit_code(units[at]) == ' ' && !(set & SPACE));
    size_t last = run(units, first, end, set);
    return last > first ? last : at;
}

/* \s?[set]+ */
static inline size_t any_spaced_run(const uint32_t *units, size_t at, size_t end, unsigned set)
{
    size_t first = at + is_in(units[at], SPACE);
    size_t last = run(units, first, end, set);
    return last > first ? last : at;
}

/* \s+(?!\S)|\s+ */
static inline size_t spaces(const uint32_t *units, size_t at, size_t end)
{
    size_t last = run(units, at, end, SPACE);
    return last < end && last > at + 1 ? last - 1 : last;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t lines_or_spaces(const uint32_t *units, size_t at, size_t end)
{
    size_t last = run(units, at, end, SPACE);
    for (size_t i = last; i > at; i--) {
        if (is_newline(units[i - 1]))
            return i;
    }
    return last < end && last > at + 1 ? last - 1 : last;
}

/* C, or with only lower case; the long s is an s to a regular expression that ignores case. */
static size_t contraction(const uint32_t *units, size_t at, size_t end, bool any_case)
{
    if (unit_code(units[at]) != '\'' || end - at < 2)
        return at;
    uint32_t letters[2] = {unit_code(units[at + 1]), end - at > 2 ? unit_code(units[at + 2]) : 0};
    for (size_t i = 0; i < 2 && any_case; i++) {
        if (letters[i] >= 'A' && letters[i] <= 'Z')
            letters[i] += 'a' - 'A';
        else if (letters[i] == 0x17f)
            letters[i] = 's';
    }
    switch (letters[0]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return at + 2;
    case 'r':
    case 'v':
        return letters[1] == 'e' ? at + 3 : at;
    case 'l':
        return letters[1] == 'l' ? at + 3 : at;
    default:
        return at;
    }
}

/* ---- gpt-2 ---- */

/* 's|'t|'re|'ve|'m|'ll|'d| ?L+| ?N+| ?[^\sLN]+|\s+(?!\S)|\s+ */
static size_t match_gpt2(const uint32_t *units, size_t at, size_t end)
{
    size_t last = contraction(units, at, end, false);
    if (last == at)
        last = spaced_run(units, at, end, LETTER);
    if (last == at)
        last = spaced_run(units, at, end, NUMBER);
    if (last == at)
        last = spaced_run(units, at, end, ANY & ~(SPACE | LETTER | NUMBER));
    return last > at ? last : spaces(units, at, end);
}

/* The digits one by one; the library's Digits, not \p{N}. */
static size_t match_digit(const uint32_t *units, size_t at, size_t end)
{
    return short_run(units, at, end, DIGIT, 1);
}

/* N */
static size_t match_number(const uint32_t *units, size_t at, size_t end)
{
    return short_run(units, at, end, NUMBER, 1);
}

/* N+ */
static size_t match_numbers(const uint32_t *units, size_t at, size_t end)
{
    return run(units, at, end, NUMBER);
}

/* N{1,3} */
static size_t match_numbers_3(const uint32_t *units, size_t at, size_t end)
{
    return short_run(units, at, end, NUMBER, 3);
}

/* [0-9][0-9][0-9] */
static size_t match_ascii_3(const uint32_t *units, size_t at, size_t end)
{
    if (end - at < 3)
        return at;
    for (size_t i = at; i < at + 3; i++) {
        if (unit_code(units[i]) < '0' || unit_code(units[i]) > '9')
            return at;
    }
    return at + 3;
}

/* [P and the ASCII characters in `more`]+ */
static inline size_t punctuation(const uint32_t *units, size_t at, size_t end, const char *more)
{
    while (at < end) {
        uint32_t code = unit_code(units[at]);
        bool extra = code > 0 && code < 0x80 && strchr(more, (int)code) != NULL;
        if (!extra && !is_in(units[at], PUNCT))
            break;
        at++;
    }
    return at;
}

/* [P\$\+<=>\^~\|]+ */
static size_t match_punctuation(const uint32_t *units, size_t at, size_t end)
{
    return punctuation(units, at, end, "$+<=>^~|");
}

/* [P\$\+<=>\^~\|`]+ */
static size_t match_punctuation_falcon(const uint32_t *units, size_t at, size_t end)
{
    return punctuation(units, at, end, "$+<=>^~|`");
}

/* ---- llama-bpe and its many relatives ---- */

/* What they differ in. */
struct words {
    unsigned letter;    // set of a word's characters
    size_t digits_max;  // {1,digits_max}
    bool contractions;  // C is an alternative
    bool newline_tail;  // [\r\n]* behind the symbols
};

/* C|[^\r\nLN]?[letter]+|N{1,digits_max}| ?[^\sN letter]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t match_words(const uint32_t *units, size_t at, size_t end, struct words words)
{
    if (words.contractions) {
        size_t last = contraction(units, at, end, true);
        if (last > at)
            return last;
    }
    if (is_in(units[at], words.letter))
        return run(units, at, end, words.letter);
    if (!is_in(units[at], NUMBER) && !is_newline(units[at])) {
        size_t last = run(units, at + 1, end, words.letter);
        if (last > at + 1)
            return last;
    }
    size_t last = short_run(units, at, end, NUMBER, words.digits_max);
    if (last > at)
        return last;
    last = spaced_run(units, at, end, ANY & ~(SPACE | NUMBER | words.letter));
    if (last > at)
        return words.newline_tail ? newlines(units, last, end) : last;
    return lines_or_spaces(units, at, end);
}

static size_t match_llama3(const uint32_t *units, size_t at, size_t end)
{
    return match_words(units, at, end, (struct words){LETTER, 3, true, true});
}

static size_t match_qwen2(const uint32_t *units, size_t at, size_t end)
{
    return match_words(units, at, end, (struct words){LETTER, 1, true, true});
}

static size_t match_qwen35(const uint32_t *units, size_t at, size_t end)
{
    return match_words(units, at, end, (struct words){LETTER | MARK, 1, true, true});
}

static size_t match_seed_coder(const uint32_t *units, size_t at, size_t end)
{
    return match_words(units, at, end, (struct words){LETTER, 1, true, false});
}

static size_t match_ufakzeka(const uint32_t *units, size_t at, size_t end)
{
    return match_words(units, at, end, (struct words){LETTER, 1, false, true});
}

static size_t match_minicpm5(const uint32_t *units, size_t at, size_t end)
{
    return match_words(units, at, end, (struct words){LETTER, SIZE_MAX, true, true});
}

/* [^\n]+|[\n]+ */
static size_t match_line(const uint32_t *units, size_t at, size_t end)
{
    bool newline = unit_code(units[at]) == '\n';
    while (at < end && (unit_code(units[at]) == '\n') == newline)
        at++;
    return at;
}

/* ---- gpt-4o, tekken ---- */

enum { UPPER = UPPER_ONLY | EITHER_CASE | MARK, LOWER = LOWER_ONLY | EITHER_CASE | MARK };

/* [UPPER]*[LOWER]+|[UPPER]+[LOWER]* behind an optional prefix, which only matters to say where it
 * starts. The first alternative gives back characters until the next one can be LOWER. */
static inline size_t mixed_word_1(const uint32_t *units, size_t at, size_t end)
{
    size_t upper_end = run(units, at, end, UPPER);
    size_t lower_end = run(units, upper_end, end, LOWER);
    if (lower_end > upper_end)
        return lower_end;
    while (upper_end > at && !is_in(units[upper_end - 1], LOWER))
        upper_end--;
    return upper_end;
}

static inline size_t mixed_word_2(const uint32_t *units, size_t at, size_t end)
{
    size_t upper_end = run(units, at, end, UPPER);
    return upper_end > at ? run(units, upper_end, end, LOWER) : at;
}

/* [^\r\nLN]?[UPPER]*[LOWER]+C?|[^\r\nLN]?[UPPER]+[LOWER]*C? ; the C only when asked for. */
static inline size_t mixed_word(const uint32_t *units, size_t at, size_t end, bool with_suffix)
{
    bool prefix = !is_in(units[at], LETTER | NUMBER) && !is_newline(units[at]);
    size_t last = at;
    if (prefix) {
        last = mixed_word_1(units, at + 1, end);
        last = last > at + 1 ? last : at;
    }
    if (last == at)
        last = mixed_word_1(units, at, end);
    if (last == at && prefix) {
        last = mixed_word_2(units, at + 1, end);
        last = last > at + 1 ? last : at;
    }
    if (last == at)
        last = mixed_word_2(units, at, end);
    if (last > at && last < end && with_suffix)
        last = contraction(units, last, end, true);
    return last;
}

/* mixed word|N{1,digits_max}| ?[^\sLN]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t match_mixed(const uint32_t *units, size_t at, size_t end, size_t digits_max,
                                 bool with_suffix)
{
    size_t last = mixed_word(units, at, end, with_suffix);
    if (last == at)
        last = short_run(units, at, end, NUMBER, digits_max);
    if (last > at)
        return last;
    last = spaced_run(units, at, end, ANY & ~(SPACE | LETTER | NUMBER));
    if (last == at)
        return lines_or_spaces(units, at, end);
    while (last < end && (is_newline(units[last]) || unit_code(units[last]) == '/'))
        last++;
    return last;
}

static size_t match_gpt4o(const uint32_t *units, size_t at, size_t end)
{
    return match_mixed(units, at, end, 3, true);
}

static size_t match_tekken(const uint32_t *units, size_t at, size_t end)
{
    return match_mixed(units, at, end, 1, false);
}

/* ---- deepseek ---- */

/* [\r\n] */
static size_t match_newline(const uint32_t *units, size_t at, size_t end)
{
    (void)end;
    return at + is_newline(units[at]);
}

/* \s?L+ */
static size_t match_spaced_letters(const uint32_t *units, size_t at, size_t end)
{
    return any_spaced_run(units, at, end, LETTER);
}

/* \s?P+ */
static size_t match_spaced_punctuation(const uint32_t *units, size_t at, size_t end)
{
    return any_spaced_run(units, at, end, PUNCT);
}

/* [ranges]+ */
static size_t range_run(const uint32_t *units, size_t at, size_t end,
                        const struct code_range *ranges, size_t n_ranges)
{
    while (at < end && code_range_has(ranges, n_ranges, unit_code(units[at])))
        at++;
    return at;
}

/* \s?[ranges]+ ; white space may be in the ranges itself. */
static size_t spaced_range_run(const uint32_t *units, size_t at, size_t end,
                               const struct code_range *ranges, size_t n_ranges)
{
    if (is_in(units[at], SPACE)) {
        size_t last = range_run(units, at + 1, end, ranges, n_ranges);
        if (last > at + 1)
            return last;
    }
    return range_run(units, at, end, ranges, n_ranges);
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static size_t match_cased_letters(const uint32_t *units, size_t at, size_t end)
{
    return spaced_range_run(units, at, end, cased_letters, COUNT(cased_letters));
}

/* \s?[!-/:-~！-／：-～‘-‟　-。]+ */
static size_t match_wide_punctuation(const uint32_t *units, size_t at, size_t end)
{
    static const struct code_range ranges[] = {{'!', '/'},       {':', '~'},
                                               {0x2018, 0x201f}, {0x3000, 0x3002},
                                               {0xff01, 0xff0f}, {0xff1a, 0xff5e}};
    return spaced_range_run(units, at, end, ranges, COUNT(ranges));
}

/* [一-龥ࠀ-一가-퟿]+ */
static size_t match_cjk(const uint32_t *units, size_t at, size_t end)
{
    static const struct code_range ranges[] = {{0x800, 0x9fa5}, {0xac00, 0xd7ff}};
    return range_run(units, at, end, ranges, COUNT(ranges));
}

/* [一-龥぀-ゟ゠-ヿ]+ */
static size_t match_han_kana(const uint32_t *units, size_t at, size_t end)
{
    static const struct code_range ranges[] = {{0x3040, 0x30ff}, {0x4e00, 0x9fa5}};
    return range_run(units, at, end, ranges, COUNT(ranges));
}

static inline bool is_ascii_letter(uint32_t unit)
{
    return (unit_code(unit) | 0x20) >= 'a' && (unit_code(unit) | 0x20) <= 'z';
}

static inline bool is_ascii_punctuation(uint32_t unit)
{
    uint32_t code = unit_code(unit);
    return code > ' ' && code < 0x7f && !is_ascii_letter(unit) && !(code >= '0' && code <= '9');
}

/* [ASCII punctuation][A-Za-z]+|[^\r\nLPS]?[LM]+| ?[PS]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t match_deepseek3(const uint32_t *units, size_t at, size_t end)
{
    size_t last = at + 1;
    if (is_ascii_punctuation(units[at])) {
        while (last < end && is_ascii_letter(units[last]))
            last++;
        if (last > at + 1)
            return last;
    }
    last = at;
    if (!is_in(units[at], LETTER | PUNCT | SYMBOL) && !is_newline(units[at])) {
        last = run(units, at + 1, end, LETTER | MARK);
        last = last > at + 1 ? last : at;
    }
    if (last == at)
        last = run(units, at, end, LETTER | MARK);
    if (last > at)
        return last;
    last = spaced_run(units, at, end, PUNCT | SYMBOL);
    return last > at ? newlines(units, last, end) : lines_or_spaces(units, at, end);
}

/* ---- shapes ---- */

/* The match at `at`, or else the gap up to the next match. */
static inline size_t cut_at(const uint32_t *units, size_t at, size_t end, pretokenize_cut *match)
{
    size_t last = match(units, at, end);
    if (last > at)
        return last;
    do
        at++;
    while (at < end && match(units, at, end) == at);
    return at;
}

/* \s+$ has a cut of its own: tried at every position, a matcher would take quadratic time. */
static size_t cut_trailing_spaces(const uint32_t *units, size_t at, size_t end)
{
    size_t first = end;
    while (first > at && is_in(units[first - 1], SPACE))
        first--;
    return first > at ? first : end;
}

#define CUT(name)                                                                                  \
    static size_t cut_##name(const uint32_t *units, size_t at, size_t end)                         \
    {                                                                                              \
        return cut_at(units, at, end, match_##name);                                               \
    }
CUT(punctuation)
CUT(gpt2)
CUT(numbers)
CUT(ascii_3)
CUT(digit)
CUT(punctuation_falcon)
CUT(llama3)
CUT(qwen2)
CUT(qwen35)
CUT(seed_coder)
CUT(ufakzeka)
CUT(numbers_3)
CUT(minicpm5)
CUT(line)
CUT(gpt4o)
CUT(tekken)
CUT(newline)
CUT(cased_letters)
CUT(wide_punctuation)
CUT(cjk)
CUT(spaced_letters)
CUT(spaced_punctuation)
CUT(number)
CUT(han_kana)
CUT(deepseek3)
#undef CUT

#define SHAPE(name, ...) pretokenize_cut *const name[] = {__VA_ARGS__, NULL}
SHAPE(shape_default, cut_punctuation, cut_gpt2, cut_numbers, cut_ascii_3);
SHAPE(shape_gpt2, cut_gpt2);
SHAPE(shape_digits, cut_digit, cut_gpt2);
SHAPE(shape_falcon, cut_punctuation_falcon, cut_gpt2, cut_ascii_3);
SHAPE(shape_llama3, cut_llama3);
SHAPE(shape_qwen2, cut_qwen2);
SHAPE(shape_qwen35, cut_qwen35);
SHAPE(shape_seed_coder, cut_seed_coder);
SHAPE(shape_ufakzeka, cut_ufakzeka);
SHAPE(shape_minicpm5, cut_numbers_3, cut_minicpm5);
SHAPE(shape_gemma4, cut_line);
SHAPE(shape_laguna, cut_line, cut_qwen2);
SHAPE(shape_gpt4o, cut_gpt4o);
SHAPE(shape_tekken, cut_tekken);
SHAPE(shape_deepseek_llm, cut_newline, cut_cased_letters, cut_wide_punctuation, cut_trailing_spaces,
      cut_cjk, cut_numbers);
SHAPE(shape_deepseek_coder, cut_newline, cut_spaced_letters, cut_spaced_punctuation, cut_cjk,
      cut_number);
SHAPE(shape_deepseek3, cut_numbers_3, cut_han_kana, cut_deepseek3);

/* ---- stages of tokenizer.json ---- */

static size_t match_digits(const uint32_t *units, size_t at, size_t end)
{
    return run(units, at, end, DIGIT);
}

static size_t cut_digits(const uint32_t *units, size_t at, size_t end)
{
    return cut_at(units, at, end, match_digits);
}

size_t pretokenize_cut_digit(const uint32_t *units, size_t at, size_t end)
{
    return cut_digit(units, at, end);
}

size_t pretokenize_cut_digits(const uint32_t *units, size_t at, size_t end)
{
    return cut_digits(units, at, end);
}

size_t pretokenize_cut_gpt2(const uint32_t *units, size_t at, size_t end)
{
    return cut_gpt2(units, at, end);
}

size_t pretokenize_cut_marks(const uint32_t *units, size_t at, size_t end)
{
    do
        at++;
    while (at < end && unit_code(units[at]) != 0x2581);
    return at;
}

size_t pretokenize_cut_words(const uint32_t *units, size_t at, size_t end)
{
    do
        at++;
    while (at < end && (unit_code(units[at]) != 0x2581 || unit_code(units[at - 1]) == 0x2581));
    return at;
}

size_t pretokenize_cut_nowhere(const uint32_t *units, size_t at, size_t end)
{
    (void)units;
    (void)at;
    return end;
}

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LINES       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER       "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER       "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define PREFIX      "[^\\r\\n\\p{L}\\p{N}]?"
#define WORDS(number)                                                                              \
    CONTRACTION "|" PREFIX "\\p{L}+|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" LINES
#define MIXED(number, suffix)                                                                      \
    PREFIX UPPER "*" LOWER "+" suffix "|" PREFIX UPPER "+" LOWER "*" suffix "|" number             \
                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" LINES

static const struct known_regex known_regexes[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", cut_gpt2,
     true},
    {WORDS("\\p{N}{1,3}"), cut_llama3, true},
    {WORDS("\\p{N}"), cut_qwen2, true},
    {CONTRACTION "|" PREFIX "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES,
     cut_qwen35, true},
    {MIXED("\\p{N}{1,3}", CONTRACTION "?"), cut_gpt4o, true},
    {MIXED("\\p{N}", ""), cut_tekken, true},
    {"\\p{N}{1,3}", cut_numbers_3, false},
    {"\\p{N}+", cut_numbers, false},
    {"\\p{N}", cut_number, false},
    {"[\\r\\n]", cut_newline, false},
    {"\\s?\\p{L}+", cut_spaced_letters, false},
    {"\\s?\\p{P}+", cut_spaced_punctuation, false},
    {"\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-"
     "Ᏽᏸ-"
     "ᏽᲐ-"
     "ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-"
     "ῼℂℇℊ-"
     "ℓℕℙ-"
     "ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-"
     "𐓓𐓘-"
     "𐓻"
     "𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
     cut_cased_letters, false},
    {"\\s+$", cut_trailing_spaces, false},
    {"[一-龥ࠀ-一가-퟿]+", cut_cjk, false},
    {"[一-龥぀-ゟ゠-ヿ]+", cut_han_kana, false},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}"
     "\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" LINES,
     cut_deepseek3, false},
    {"\\s?[!-/:-~！-／：-～‘-‟　-。]+", cut_wide_punctuation, false},
};

const struct known_regex *pretokenize_regex(const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < COUNT(known_regexes); i++) {
        const char *have = known_regexes[i].text;
        if (strlen(have) == n_bytes && !memcmp(have, text, n_bytes))
            return &known_regexes[i];
    }
    return NULL;
}
