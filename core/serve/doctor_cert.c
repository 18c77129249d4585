/* doctor_cert.c - a certificate as facts; doctor.lua judges them. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include "base/json.h"
#include "serve/doctor.h"

#define CHAIN_MAX 16

static void write_error(till_buf_t *out, const char *what, const char *file)
{
    char text[640];

    snprintf(text, sizeof(text), "%s: %s", file, what);
    till_buf_puts(out, "{\"error\":");
    till_json_write_string(out, text, strlen(text));
    till_buf_putc(out, '}');
}

static STACK_OF(X509) * read_chain(const char *file)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    BIO *bio = BIO_new_file(file, "r");
    X509 *one;

    while (bio != NULL && sk_X509_num(chain) < CHAIN_MAX && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        sk_X509_push(chain, one);
    BIO_free(bio);
    ERR_clear_error();
    return chain;
}

static EVP_PKEY *read_key(const char *file)
{
    BIO *bio = BIO_new_file(file, "r");
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    ERR_clear_error();
    return key;
}

static long long seconds_of(const ASN1_TIME *time)
{
    struct tm parts;

    return ASN1_TIME_to_tm(time, &parts) == 1 ? (long long)timegm(&parts) : 0;
}

static void write_name(till_buf_t *out, const GENERAL_NAME *name, bool *is_first)
{
    const ASN1_STRING *text = name->type == GEN_DNS ? name->d.dNSName : NULL;

    if (text == NULL)
        return;
    if (!*is_first)
        till_buf_putc(out, ',');
    *is_first = false;
    till_json_write_string(out, (const char *)ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
}

static void write_names(till_buf_t *out, X509 *leaf)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    bool is_first = true;

    till_buf_puts(out, ",\"names\":[");
    for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i)
        write_name(out, sk_GENERAL_NAME_value(names, i), &is_first);
    till_buf_printf(out, "],\"addresses\":%d", names != NULL ? sk_GENERAL_NAME_num(names) : 0);
    GENERAL_NAMES_free(names);
}

/* Each is signed by the next one in the file. */
static bool is_in_order(STACK_OF(X509) * chain)
{
    for (int i = 0; i + 1 < sk_X509_num(chain); ++i) {
        X509 *one = sk_X509_value(chain, i), *issuer = sk_X509_value(chain, i + 1);
        if (X509_check_issued(issuer, one) != X509_V_OK || X509_verify(one, X509_get0_pubkey(issuer)) != 1)
            return false;
    }
    return true;
}

/* @return NULL, or why a client that believes this system's authorities would not believe it; its dates aside */
static const char *why_not_trusted(STACK_OF(X509) * chain)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *check = X509_STORE_CTX_new();

    X509_STORE_set_default_paths(store);
    X509_STORE_CTX_init(check, store, sk_X509_value(chain, 0), chain);
    X509_STORE_CTX_set_flags(check, X509_V_FLAG_NO_CHECK_TIME);
    bool ok = X509_verify_cert(check) == 1;
    const char *why = ok ? NULL : X509_verify_cert_error_string(X509_STORE_CTX_get_error(check));
    X509_STORE_CTX_free(check);
    X509_STORE_free(store);
    ERR_clear_error();
    return why;
}

static void write_facts(till_buf_t *out, STACK_OF(X509) * chain, EVP_PKEY *key)
{
    X509 *leaf = sk_X509_value(chain, 0);
    EVP_PKEY *public = X509_get0_pubkey(leaf);
    const char *why = why_not_trusted(chain);

    till_buf_printf(out, "{\"begins\":%lld,\"ends\":%lld,\"chain\":%d", seconds_of(X509_get0_notBefore(leaf)),
                    seconds_of(X509_get0_notAfter(leaf)), sk_X509_num(chain));
    till_buf_printf(out, ",\"key_type\":\"%s\",\"key_bits\":%d",
                    public != NULL ? OBJ_nid2sn(EVP_PKEY_base_id(public)) : "",
                    public != NULL ? EVP_PKEY_bits(public) : 0);
    till_buf_printf(out, ",\"key_matches\":%s,\"in_order\":%s",
                    key != NULL && X509_check_private_key(leaf, key) == 1 ? "true" : "false",
                    is_in_order(chain) ? "true" : "false");
    if (why != NULL) {
        till_buf_puts(out, ",\"not_trusted\":");
        till_json_write_string(out, why, strlen(why));
    }
    write_names(out, leaf);
    till_buf_putc(out, '}');
    ERR_clear_error();
}

void till_doctor_certificate(const char *cert_file, const char *key_file, till_buf_t *out)
{
    STACK_OF(X509) *chain = read_chain(cert_file);
    EVP_PKEY *key = read_key(key_file);

    if (sk_X509_num(chain) == 0)
        write_error(out, "cannot be read as a certificate (PEM)", cert_file);
    else if (key == NULL)
        write_error(out, "cannot be read as a private key (PEM)", key_file);
    else
        write_facts(out, chain, key);
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
}
