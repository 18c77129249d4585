/* doctor.h - `moontill doctor`: is this machine, its database and its configuration fit for a shop?
 *
 * C gathers what only C can see (versions, limits, ports, the certificate, the
 * running server, whether the generation loads) into one JSON object and hands
 * it to lua/till/cli/doctor.lua, which asks database and Redis, and judges. That
 * Lua runs without plugins, so that a broken one is a finding and not the end.
 *
 * A configuration that cannot be read is the only finding then.
 */
#ifndef TILL_SERVE_DOCTOR_H
#define TILL_SERVE_DOCTOR_H

#include "base/buf.h"
#include "serve/cli.h"

/** @return 0: nothing fails; 1: something does; 2: misuse */
int till_doctor_run(till_cli_t *cli);

/** Appends what there is to know of a certificate and its key, as a JSON object; {"error":"…"} where they are
 * unreadable.
 */
void till_doctor_certificate(const char *cert_file, const char *key_file, till_buf_t *out);

#endif
