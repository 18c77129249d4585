/* card.h - the guard against numbers of payment cards where they have no business.
 *
 * Moontill never sees a card: the shopper's client gives it to the provider and us a token. A
 * number that comes all the same, in a note to the order or in the wrong field, would be stored,
 * copied to replicas and backups, and logged. So JSON from outside is refused where it holds one
 * (json.h, `no_cards`) and no log line shows one (log.h). It stands in base because the log does.
 *
 * Invariants
 *  1. Found is what has all of: a length and a first part that an issuer gives out (the table in
 *     card.c), and Luhn's check digit. Nothing else is ever found: of ordinary numbers, the one
 *     in ten that Luhn lets pass, of those that begin and are as long as a card's.
 *  2. Digits may have blanks and dashes between them, up to three in a row, also the dashes and
 *     blanks of typography and a path's %20. A number begins and ends with a group of digits, so
 *     what is written behind a card (12 27 123) does not hide it. In twos
 *     nobody writes a card, but the sizes of shoes. Between groups of 4-4-4-4, 4-6-5 or 4-6-4, as
 *     they stand on cards, there may be a point, a slash, a tab or an end of line as well.
 *  3. A group that touches a letter or an underscore is part of an identifier (a ULID, a hash, a
 *     token) and of no card, nor is any of a UUID, nor the fraction of a decimal number. A row of
 *     digits that is longer than a card's is no card, whatever stands inside of it. What follows
 *     a group of the same length is the middle of something longer (a parcel's number, an IBAN).
 *  4. The time is linear in the length, whatever the text.
 *
 * Numbers of 13 digits are left out: no card has had one for decades, and an EAN-13 that begins
 * with 4, as those of Germany and Japan do, would be refused one time in ten.
 *
 * Thread: any; nothing is kept.
 */
#ifndef TILL_BASE_CARD_H
#define TILL_BASE_CARD_H

#include <stdbool.h>
#include <stddef.h>

#define TILL_CARD_MIN_DIGITS 14
#define TILL_CARD_MAX_DIGITS 19

/** The first one in the text: its bytes are from .. to - 1. @return false where there is none */
bool till_card_find(const char *bytes, size_t len, size_t *from, size_t *to);

#endif
