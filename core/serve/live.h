/* live.h - streams of changes to clients: server-sent events (over HTTP/1.1 and HTTP/2) and WebSocket.
 *
 *      a route's answer that goes on (till_response_t.live)
 *         │ till_live_begin: limits, headers or handshake
 *         ▼
 *      OPEN ── state set ──► dirty ── room ──► written ── proceed ──► OPEN
 *         │ age, drain, topic ended, client breaks the protocol
 *         ▼
 *      ENDING ── last words written ──► ENDED (WebSocket: the client's close, or CLOSE_MS) ──► gone
 *
 * A stream is of the process, not of a generation: the route that began it has
 * ended. It watches topics; a topic is there while somebody watches it. Lua of
 * whatever generation is live looks at what is watched and sets its state
 * (lua/till/flow/live.lua), so that a reload neither waits for a stream nor
 * ends one. A worker that drains ends its streams at once, politely; clients
 * come back to another one after a time that differs for each.
 *
 * Slow readers. A stream has no queue: of each topic that it watches it knows
 * whether something is to be told, and what of it has changed since. When there
 * is room, the state of that moment is written; what came between was never
 * kept. The state itself is kept once for all who have to be told still, and
 * the kernel is allowed SEND_BUFFER of it. Who takes nothing for
 * server.send_timeout_ms is hung up on.
 *
 * Invariants
 *  1. At most one write of a stream is under way; its bytes are the stream's until it has ended.
 *  2. What is written of a topic is its newest state; a state that was written is not written again.
 *  3. Nothing is written after the last words.
 *
 * Limits: live.max_streams of a worker (503), live.max_per_client of one client
 * (429); a client is a customer, or a key and an address. live.heartbeat_ms: a
 * comment, or a ping that must be answered. live.max_age_minutes: then it has
 * to be begun anew, and the credential is looked at again.
 *
 * Thread: the server's. Owns: its streams.
 */
#ifndef TILL_SERVE_LIVE_H
#define TILL_SERVE_LIVE_H

#include "serve/options.h"
#include "vm/live.h"

typedef struct till_live till_live_t;
struct till_server;

till_live_t *till_live_create(struct till_server *server);
/** All connections are gone. */
void till_live_destroy(till_live_t *live);
/** For the VMs of this process; borrowed. */
const till_live_face_t *till_live_face(till_live_t *live);
/** Ends all streams politely; those that begin from now on are refused. */
void till_live_drain(till_live_t *live);
size_t till_live_streams(const till_live_t *live);

#endif
