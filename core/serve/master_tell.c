/* master_tell.c - what the master tells /metrics: of its children, its disk, its certificate. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <openssl/x509.h>
#include "base/version.h"
#include "serve/master_priv.h"

#define EVERY_MS 1000

static void tell_workers(till_master_t *master)
{
    static const char *const kinds[] = {"jobs", "web"}, *const states[] = {"down", "starting", "ready"};
    unsigned count[2][3] = {{0}};
    char labels[48];

    for (size_t i = 0; i != TILL_CHILDREN; ++i) {
        if (master->children[i].set == SET_NOW || master->children[i].set == SET_NEXT)
            ++count[master->children[i].is_web][master->children[i].state];
    }
    for (int kind = 0; kind != 2; ++kind) {
        for (int state = 0; state != 3; ++state) {
            snprintf(labels, sizeof(labels), "kind=\"%s\",state=\"%s\"", kinds[kind], states[state]);
            till_metrics_set(master->metrics, TILL_METRIC_GAUGE, "till_workers", labels, count[kind][state]);
        }
    }
}

static void tell_disks(till_master_t *master)
{
    const char *log = till_conf_str(master->now.conf, "log.file"), *slash = strrchr(log, '/');
    char dir[512];

    till_gauges_disk(master->metrics, "var", master->opts->var_dir);
    if (slash == NULL || (size_t)(slash - log) >= sizeof(dir))
        return;
    snprintf(dir, sizeof(dir), "%.*s", slash == log ? 1 : (int)(slash - log), log);
    till_gauges_disk(master->metrics, "log", dir);
}

static void tell_build(till_master_t *master)
{
    till_buf_t labels;

    till_buf_init(&labels, 0);
    till_metrics_label(&labels, "version", till_version(), strlen(till_version()));
    till_metrics_set(master->metrics, TILL_METRIC_LAST, "till_build_info", labels.base, 1);
    till_buf_dispose(&labels);
}

void till_master_tell(till_master_t *master)
{
    uint64_t now = till_master_now();

    tell_workers(master); /* at once: somebody may be waiting for them */
    if (master->told_ms != 0 && now - master->told_ms < EVERY_MS)
        return;
    if (master->told_ms == 0)
        tell_build(master);
    master->told_ms = now;
    tell_disks(master);
    till_gauges_tick(master->gauges);
}

void till_master_tell_certificate(till_master_t *master)
{
    X509 *certificate = master->now.ssl != NULL ? SSL_CTX_get0_certificate(master->now.ssl) : NULL;
    struct tm end;

    if (certificate != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1)
        till_metrics_set(master->metrics, TILL_METRIC_LAST, "till_certificate_expiry_time_seconds", NULL,
                         (double)timegm(&end));
}
