#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include "base/hash.h"
#include "serve/dev_priv.h"

#define DAYS(n) ((long)(n)*24 * 3600)

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;

    X509_EXTENSION_free(ext);
    return ok;
}

static X509 *new_cert(EVP_PKEY *key, const char *name, long days)
{
    X509 *cert = X509_new();
    unsigned char serial[16];

    till_random(serial, sizeof(serial));
    serial[0] &= 0x7f; /* RFC 5280: positive, at most 20 octets */
    BIGNUM *number = BN_bin2bn(serial, sizeof(serial), NULL);
    X509_set_version(cert, 2);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    X509_gmtime_adj(X509_getm_notBefore(cert), -DAYS(1));
    X509_gmtime_adj(X509_getm_notAfter(cert), DAYS(days));
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                               0);
    return cert;
}

static X509 *make_ca(EVP_PKEY *key)
{
    X509 *ca = new_cert(key, "Moontill development CA", 3650);

    X509_set_issuer_name(ca, X509_get_subject_name(ca));
    add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(ca, ca, NID_subject_key_identifier, "hash");
    X509_sign(ca, key, EVP_sha256());
    return ca;
}

static X509 *make_leaf(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, const char *host)
{
    X509 *cert = new_cert(key, "localhost", 397); /* browsers refuse more than 398 days */
    char names[400];
    struct in6_addr v6;
    struct in_addr v4;
    bool is_ip = inet_pton(AF_INET, host, &v4) == 1 || inet_pton(AF_INET6, host, &v6) == 1;

    snprintf(names, sizeof(names), "DNS:localhost,IP:127.0.0.1,IP:::1,%s:%s", is_ip ? "IP" : "DNS", host);
    X509_set_issuer_name(cert, X509_get_subject_name(ca));
    add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(cert, ca, NID_key_usage, "critical,digitalSignature");
    add_extension(cert, ca, NID_ext_key_usage, "serverAuth");
    add_extension(cert, ca, NID_subject_key_identifier, "hash");
    add_extension(cert, ca, NID_authority_key_identifier, "keyid");
    bool ok = add_extension(cert, ca, NID_subject_alt_name, names);
    X509_sign(cert, ca_key, EVP_sha256());
    if (!ok) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

static bool write_pem(const char *dir, const char *name, mode_t mode, X509 *cert, X509 *chain, EVP_PKEY *key)
{
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if ((fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)) == -1)
        return false;
    FILE *file = fdopen(fd, "w");
    bool ok = (cert == NULL || PEM_write_X509(file, cert) == 1) &&
              (chain == NULL || PEM_write_X509(file, chain) == 1) &&
              (key == NULL || PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    return fclose(file) == 0 && ok;
}

/* Whether what is there is good for `host` and another 30 days. */
static bool still_holds(const char *dir, const char *host)
{
    char path[512];
    time_t later = time(NULL) + DAYS(30);

    snprintf(path, sizeof(path), "%s/cert.pem", dir);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    bool ok = cert != NULL && X509_cmp_time(X509_get0_notAfter(cert), &later) > 0 &&
              (X509_check_host(cert, host, 0, 0, NULL) == 1 || X509_check_ip_asc(cert, host, 0) == 1);
    X509_free(cert);
    snprintf(path, sizeof(path), "%s/key.pem", dir);
    return ok && access(path, R_OK) == 0;
}

bool till_dev_cert(const char *var_dir, const char *host)
{
    char dir[400];

    snprintf(dir, sizeof(dir), "%s/tls", var_dir);
    if (!till_dev_mkdir(dir, 0700, getuid(), getgid()))
        return false;
    if (still_holds(dir, host))
        return true;
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *ca = make_ca(ca_key), *cert = make_leaf(key, ca, ca_key, host);
    /* The CA's key is forgotten at once: nobody can sign a second certificate with it. */
    bool ok = cert != NULL && write_pem(dir, "ca.pem", 0644, ca, NULL, NULL) &&
              write_pem(dir, "key.pem", 0600, NULL, NULL, key) && write_pem(dir, "cert.pem", 0644, cert, ca, NULL);

    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    if (!ok)
        till_dev_say("certificate", "could not be made for host %s under %s: %s", host, dir, strerror(errno));
    return ok;
}
