/* vault.h - what must be kept and must not be read from a stolen database: sealed with AES-256-GCM.
 *
 * Envelopes: each record has a data key of its own, which seals it and is itself sealed ("wrapped")
 * with a key of the ring. The ring comes from the option vault.keys and is in no database and no
 * backup of one:
 *
 *     2027a:<base64 of 32 bytes>     the first is the current one: it seals what is new
 *     2026b:<base64 of 32 bytes>     those behind it open what they have sealed
 *
 * A sealed record:
 *
 *     1 | n | id of n bytes | 12 nonce | 32 wrapped data key | 16 tag | 12 nonce | text | 16 tag
 *
 * Rotation: put a new key first, reseal what `is_current` says is of an older one, and take the old
 * key out when nothing is.
 *
 * Invariants
 *  1. What opens is what was sealed, to the byte, at the same place (table, row, column), by a key
 *     of the ring; whatever else was done to it is a refusal and gives nothing away, not even a
 *     part. The head, the wrapped key and the place are authenticated with the text.
 *  2. No key is used for two things: of each key of the ring HKDF-SHA256 (RFC 5869) derives one that
 *     wraps, and one for each purpose of an index.
 *  3. No nonce comes twice under a key: a data key seals one record, and the wrapping nonces are
 *     random (NIST SP 800-38D, 8.3: up to 2^32 records for a key of the ring, then rotate).
 *  4. An index says that two texts of one purpose are equal, and nothing else about them. Indexes of
 *     different purposes, and of different keys, have nothing to do with each other.
 *  5. Keys and texts are cleansed from the memory that they had here.
 *
 * An index of few possible texts (a yes or no, a postal code) can be guessed by whoever may write
 * records: there an index is the wrong tool.
 *
 * Thread: any number may use one vault; nothing in it changes after create.
 */
#ifndef TILL_TRADE_VAULT_H
#define TILL_TRADE_VAULT_H

#include "base/hash.h"

#define TILL_VAULT_TEXT_MAX (1 << 20)
#define TILL_VAULT_MOST_KEYS 16
#define TILL_VAULT_ID_MAX 16
/* What a sealed record has more than its text, at most. */
#define TILL_VAULT_OVERHEAD (2 + TILL_VAULT_ID_MAX + 12 + 32 + 16 + 12 + 16)

typedef struct till_vault till_vault_t;

/* Where a record is kept. Each part is counted by its length: parts cannot run into each other. */
typedef struct till_vault_place {
    till_slice_t table, row, column;
} till_vault_place_t;

typedef enum till_vault_verdict {
    TILL_VAULT_OPENED,
    TILL_VAULT_MALFORMED, /* it is no sealed record, or cut short */
    TILL_VAULT_NO_KEY,    /* it names a key that the ring does not have */
    TILL_VAULT_TAMPERED,  /* it was changed, or belongs to another place, or its key has another one's id */
} till_vault_verdict_t;

/** `ring` is text as above, entries apart by line ends, blanks or commas; # and what follows on the line is passed
 * over. @return NULL with a sentence in `why`, which holds nothing of the keys */
till_vault_t *till_vault_create(till_slice_t ring, char *why, size_t why_size);
/** NULL is allowed. */
void till_vault_destroy(till_vault_t *vault);
/** How many keys there are; index 0 is the current one. */
size_t till_vault_keys(const till_vault_t *vault);

/** `out` takes text.len + TILL_VAULT_OVERHEAD. `text` is at most TILL_VAULT_TEXT_MAX long. @return the length */
size_t till_vault_seal(const till_vault_t *vault, const till_vault_place_t *place, till_slice_t text, uint8_t *out);
/** `out` takes sealed.len; it is all zeros unless OPENED. */
till_vault_verdict_t till_vault_open(const till_vault_t *vault, const till_vault_place_t *place, till_slice_t sealed,
                                     uint8_t *out, size_t *len);
/** Opens it and seals it anew with the current key. `out` takes sealed.len + TILL_VAULT_OVERHEAD. */
till_vault_verdict_t till_vault_reseal(const till_vault_t *vault, const till_vault_place_t *place, till_slice_t sealed,
                                       uint8_t *out, size_t *len);
/** Is it of the current key, by what it says of itself? */
bool till_vault_is_current(const till_vault_t *vault, till_slice_t sealed);

/** The index of `text` by the key at `key` (below till_vault_keys). Write it by the current one, search for all of
 * them until what is old is resealed. */
void till_vault_index(const till_vault_t *vault, size_t key, till_slice_t purpose, till_slice_t text,
                      uint8_t out[TILL_SHA256_LEN]);

#endif
