/* signature.h - is a webhook's body the word of the provider that it says it is of?
 *
 * Three schemes cover the providers that we speak with:
 *   stripe   `t=<seconds>,v1=<hex HMAC-SHA256 of "t.body">[,v1=...]`
 *   hmac     hex or base64 HMAC-SHA256 of a text (FedEx, and most that are small)
 *   public   RSA or ECDSA with SHA-256 over a text, with the provider's public key or
 *            certificate (PayPal: `id|time|webhook id|crc32 of the body`; SendGrid)
 *
 * Invariants
 *  1. VALID is said only where a signature given is, byte for byte, the one that a live secret
 *     makes of the body, or verifies under the key.
 *  2. Whatever is compared with a secret's work is compared in constant time, each secret with
 *     each signature, also after a match: time does not tell which of them it was.
 *  3. STALE is said only of what matched: it is the provider's word, but too old, or of a clock
 *     that is ahead of ours by more. Nobody else learns anything of our clock.
 *  4. An empty secret matches nothing, and no secret at all neither: a secret that was forgotten
 *     in the configuration does not open the door.
 *  5. Nothing is left in OpenSSL's queue of errors, which TLS on the same thread reads.
 *
 * Thread: any; nothing is kept. Owns: nothing; everything given is borrowed for the call.
 */
#ifndef TILL_TRADE_SIGNATURE_H
#define TILL_TRADE_SIGNATURE_H

#include <stdint.h>
#include "base/hash.h"

/* More than any provider sends; what exceeds them is malformed. */
#define TILL_SIGNATURE_HEADER_MAX 4096
#define TILL_SIGNATURE_KEY_MAX 65536
#define TILL_SIGNATURE_MOST 16 /* signatures in one header */

typedef enum till_signature {
    TILL_SIGNATURE_VALID,
    TILL_SIGNATURE_MALFORMED, /* what was sent is no signature of this scheme */
    TILL_SIGNATURE_NO_MATCH,  /* it is somebody else's, of another body, or of a secret that is no longer live */
    TILL_SIGNATURE_STALE,     /* it matches, outside of the tolerance or of the certificate's dates */
    TILL_SIGNATURE_BAD_KEY,   /* no public key, one of the other algorithm, or a weak one */
} till_signature_t;

typedef enum till_signature_spelling { TILL_SIGNATURE_HEX, TILL_SIGNATURE_BASE64 } till_signature_spelling_t;
typedef enum till_signature_algorithm { TILL_SIGNATURE_RSA, TILL_SIGNATURE_ECDSA } till_signature_algorithm_t;

/** "valid", "malformed", "no_match", "stale", "bad_key"; a static string. */
const char *till_signature_name(till_signature_t verdict);

/** Schemes in the header other than v1 are passed over. `now_s` is of the wall clock; the time in the header may be
 * `tolerance_s` before or behind it, both ends included. */
till_signature_t till_signature_stripe(till_slice_t header, till_slice_t body, const till_slice_t *secrets, size_t n,
                                       int64_t now_s, int64_t tolerance_s);
till_signature_t till_signature_hmac(till_slice_t given, till_signature_spelling_t spelling, till_slice_t text,
                                     const till_slice_t *secrets, size_t n);
/** `key`: a certificate or public key in PEM, or the base64 of a DER SubjectPublicKeyInfo. RSA from 2048 bits on,
 * PKCS #1 v1.5; curves from 256 bits on, a signature in DER. `given` is base64. A certificate's dates are held against
 * `now_s`; who has issued it is the business of whoever fetched it. */
till_signature_t till_signature_public(till_signature_algorithm_t algorithm, till_slice_t key, till_slice_t given,
                                       till_slice_t text, int64_t now_s);

#endif
