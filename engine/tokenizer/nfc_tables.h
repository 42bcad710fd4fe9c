/* Tables of Unicode normalisation, all sorted by their first field. Private to nfc.c. */
#ifndef WICARA_TOKENIZER_NFC_TABLES_H
#define WICARA_TOKENIZER_NFC_TABLES_H

#include <stddef.h>
#include <stdint.h>

struct nfc_class {
    uint32_t first, last;  // code points, inclusive
    uint8_t class;         // canonical combining class, not 0
};
struct nfc_part {
    uint32_t code;
    uint16_t at;  // of its full decomposition in nfc_pool
    uint16_t n;
};
struct nfc_pair {
    uint32_t first, second, composed;
};

extern const struct nfc_class nfc_classes[];
extern const struct nfc_part nfc_parts[];
extern const uint32_t nfc_pool[];
extern const struct nfc_pair nfc_pairs[];
extern const uint32_t nfc_joining[];  // of class 0, second in a pair
extern const size_t nfc_classes_count, nfc_parts_count, nfc_pool_count, nfc_pairs_count;
extern const size_t nfc_joining_count;

#endif
