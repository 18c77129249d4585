/* metrics_table.h - every metric of ours: kind, name, labels, help. docs/metrics.md explains them;
 * scripts/lint-metrics holds both and the code together.
 */
#ifndef TILL_SERVE_METRICS_TABLE_H
#define TILL_SERVE_METRICS_TABLE_H

/* clang-format off */
#define TILL_METRICS_TABLE(M)                                                                                          \
    M(counter, "till_http_requests_total", "route method status", "Requests that ended, by class of their status.")    \
    M(histogram, "till_http_request_duration_seconds", "route method", "From the request's last byte to its answer.")  \
    M(counter, "till_http_responses_total", "status", "Requests that ended, by status.")                               \
    M(gauge, "till_http_in_flight", "", "Requests that are being worked on.")                                          \
    M(gauge, "till_http_in_flight_limit", "", "Requests that may be worked on at a time.")                             \
    M(gauge, "till_http_connections", "", "Open connections.")                                                         \
    M(gauge, "till_http_connections_limit", "", "Connections that may be open.")                                       \
    M(counter, "till_http_client_gone_total", "", "Requests whose client went away before the answer.")                \
    M(counter, "till_http_hostile_total", "reason", "Connections hung up on for what they sent.")                      \
    M(gauge, "till_live_streams", "protocol", "Open streams of changes to clients.")                                   \
    M(gauge, "till_live_streams_limit", "", "Streams that may be open.")                                               \
    M(counter, "till_live_events_total", "", "Events written to streams.")                                             \
    M(counter, "till_live_refused_total", "why", "Streams refused: too many of the worker, or of one client.")         \
    M(counter, "till_live_ended_total", "why", "Streams that ended.")                                                  \
    M(counter, "till_shed_total", "class why", "Requests refused for overload, by importance and by what was too much.")\
    M(gauge, "till_admission_delay_seconds", "queue", "The shortest wait of the last half second, the worst of the workers.")\
    M(gauge, "till_admission_share", "queue class", "The share of requests that is refused, the largest of the workers.")\
    M(counter, "till_rate_limited_total", "limit", "Requests refused because somebody asked too often.")               \
    M(counter, "till_logins_total", "kind result", "Attempts to log in.")                                              \
    M(counter, "till_idempotent_replays_total", "", "Answers given again under their Idempotency-Key.")                \
    M(counter, "till_combined_batches_total", "kind", "Transactions of several callers who waited for the same row.")  \
    M(counter, "till_combined_calls_total", "kind", "Callers in those.")                                               \
    M(counter, "till_combined_splits_total", "kind", "Batches that did not go through whole, and went on in parts.")   \
    M(gauge, "till_sql_up", "", "1 where the database answered a worker within the last 10 s.")                        \
    M(gauge, "till_sql_connections_open", "", "Connections to the database.")                                          \
    M(gauge, "till_sql_connections_idle", "", "Connections to the database that wait for work.")                       \
    M(gauge, "till_sql_connections_limit", "", "Connections to the database that may be open.")                        \
    M(gauge, "till_sql_waiting", "", "Calls that wait for a connection to the database.")                              \
    M(counter, "till_sql_statements_total", "", "Statements run.")                                                     \
    M(histogram, "till_sql_statement_duration_seconds", "", "From a statement's begin to its last row.")               \
    M(counter, "till_sql_reconnects_total", "", "Connections to the database that had to be made again.")              \
    M(counter, "till_sql_timeouts_total", "", "Statements that ran out of time.")                                      \
    M(counter, "till_sql_kills_total", "", "Statements ended in the database because nobody waited for them.")         \
    M(counter, "till_sql_refused_total", "why", "Calls that got no connection: the queue was full, or they waited too long.")\
    M(histogram, "till_sql_wait_seconds", "", "Waits for a connection to the database, of those who had to wait.")     \
    M(gauge, "till_redis_up", "", "1 where Redis is connected to a worker.")                                           \
    M(gauge, "till_redis_in_flight", "", "Commands that Redis has not answered yet.")                                  \
    M(counter, "till_redis_commands_total", "", "Commands sent to Redis.")                                             \
    M(counter, "till_redis_failures_total", "", "Commands without an answer: Redis was away, or out of time.")         \
    M(counter, "till_redis_refused_total", "", "Commands not sent: too many unanswered, or Redis silent for too long.")\
    M(histogram, "till_redis_command_duration_seconds", "", "From a command to its answer.")                           \
    M(counter, "till_outbound_requests_total", "host status", "Requests to other servers, by class of the answer.")    \
    M(histogram, "till_outbound_request_duration_seconds", "host", "From a request to another server to its end.")     \
    M(gauge, "till_outbound_in_flight", "", "Requests to other servers that have no answer yet.")                      \
    M(gauge, "till_outbound_limit", "", "Connections to other servers that may be open.")                              \
    M(gauge, "till_outbound_waiting", "", "Requests to other servers that wait for a connection.")                     \
    M(counter, "till_outbound_refused_total", "why", "Requests not sent: the queue was full, or they waited too long.")\
    M(histogram, "till_outbound_wait_seconds", "", "Waits of requests to other servers for a connection.")             \
    M(gauge, "till_vm_memory_bytes", "process", "Memory of the live generation's VM.")                                 \
    M(gauge, "till_vm_memory_limit_bytes", "", "Memory that one VM may take.")                                         \
    M(counter, "till_vm_gc_cycles_total", "", "Times that all of a VM was looked through for garbage.")                  \
    M(histogram, "till_vm_gc_full_duration_seconds", "", "Full collections, forced where memory was short.")             \
    M(gauge, "till_vm_calls", "", "Coroutines of the live generation.")                                                \
    M(gauge, "till_vm_generations", "", "VMs: the live ones and those that finish what they began.")                   \
    M(gauge, "till_generation_info", "generation", "Processes that run a generation.")                                 \
    M(gauge, "till_generation_behind", "", "1: what is live in the database cannot be loaded here, or is another version's.") \
    M(counter, "till_generation_swaps_total", "", "Generations that went live, in each process.")                      \
    M(histogram, "till_generation_swap_duration_seconds", "", "How long a step of a swap let all others wait.")        \
    M(gauge, "till_loop_delay_seconds", "", "The longest turn of an event loop within the last second.")               \
    M(histogram, "till_loop_turn_duration_seconds", "", "How long one turn of an event loop let all others wait.")     \
    M(counter, "till_events_total", "type result", "Events of the outbox that were delivered, or failed.")             \
    M(gauge, "till_outbox_pending", "type", "Events of the outbox not delivered yet, counted up to 10,000.")           \
    M(gauge, "till_outbox_running", "type", "Events that a jobs worker has at hand, counted up to 10,000.")            \
    M(gauge, "till_outbox_oldest_age_seconds", "type", "For how long the oldest event that is due has waited.")        \
    M(gauge, "till_outbox_dead", "type", "Events that were given up and wait for staff, counted up to 10,000.")        \
    M(counter, "till_purged_rows_total", "table", "Carts, reservations and flows that were cleaned away.")             \
    M(counter, "till_payments_let_go_total", "provider why", "Payments without an order whose money was let go of.") \
    M(gauge, "till_sagas", "name state", "Flows that are not over: running, waiting, parked or failed.")               \
    M(gauge, "till_alerts_open", "kind", "Conditions that somebody should know of.")                                   \
    M(counter, "till_stock_checked_rows_total", "", "Rows of stock that were compared with their log.")                \
    M(counter, "till_stock_differences_total", "kind repaired", "Differences between stock, its log, reservations, orders and what is shown.")\
    M(gauge, "till_stock_check_finished_time_seconds", "", "When the last pass over all stock ended.")                 \
    M(counter, "till_stock_refused_total", "", "Shoppers who wanted more than there was.")                             \
    M(counter, "till_stock_view_reads_total", "result", "Variants looked for in what Redis keeps of stock.")           \
    M(gauge, "till_sagas_oldest_age_seconds", "name", "Since when the oldest flow that is not over has not moved.")    \
    M(counter, "till_cache_reads_total", "kind result", "Reads of a worker's cache.")                                  \
    M(histogram, "till_hook_duration_seconds", "hook plugin", "Calls of plugins.")                                     \
    M(counter, "till_hook_failures_total", "hook plugin", "Calls of plugins that failed.")                             \
    M(counter, "till_provider_calls_total", "operation outcome provider", "Calls of payment providers, by what they answered.") \
    M(counter, "till_provider_refused_total", "operation provider reason", "Calls of payment providers that were not made: breaker, bulkhead, dry_run.") \
    M(counter, "till_provider_retries_total", "operation provider", "Calls of payment providers that were made again.") \
    M(gauge, "till_provider_breaker_state", "operation provider", "0: closed, 1: half open, 2: open; added up over workers.") \
    M(counter, "till_webhooks_received_total", "provider result", "Events that providers sent, or that were read there.")  \
    M(counter, "till_webhooks_applied_total", "provider state", "Events of the inbox that were applied, parked or failed.") \
    M(counter, "till_settlements_total", "provider state", "Reconciliations with providers that ended.") \
    M(counter, "till_settlement_items_total", "provider verdict", "Movements at providers that were compared with our books.") \
    M(counter, "till_settlement_booked_total", "kind provider", "Movements that reconciliation had to book.") \
    M(counter, "till_settlement_resolved_total", "outcome provider", "Payments with money and without an order that reconciliation found.") \
    M(histogram, "till_box_duration_seconds", "", "Exchanges with the box of rules, from the question to the answer.")  \
    M(counter, "till_box_kills_total", "rule reason", "Rules that were ended: budget, deadline, memory, depth, crash.") \
    M(counter, "till_box_replaced_total", "", "Boxes of rules that a rule took with it, or that overran.")             \
    M(counter, "till_rules_called_total", "hook", "Merchants' rules that were called.")                                \
    M(counter, "till_rules_passed_over_total", "hook", "Rules not called: their conditions did not hold for the cart.") \
    M(counter, "till_rule_failures_total", "rule code", "Calls of rules that threw, or whose answer cannot be used.")  \
    M(counter, "till_rule_set_aside_total", "rule", "Times that a rule was set aside.")                                \
    M(counter, "till_hook_overruns_total", "hook plugin", "Calls of plugins that took longer than their hook's budget.") \
    M(gauge, "till_workers", "kind state", "Worker processes, as the master sees them.")                               \
    M(counter, "till_process_restarts_total", "process", "Workers that died and were replaced.")                       \
    M(counter, "till_worker_stuck_total", "plugin", "Workers that stood still and were killed, by the plugin they were in.")\
    M(gauge, "till_process_start_time_seconds", "process", "When the process began, in seconds since 1970.")           \
    M(counter, "till_process_cpu_seconds_total", "process", "CPU time taken.")                                         \
    M(gauge, "till_process_resident_memory_bytes", "process", "Resident memory.")                                      \
    M(gauge, "till_process_open_fds", "process", "Open descriptors.")                                                  \
    M(gauge, "till_process_max_fds", "process", "Descriptors that may be open.")                                       \
    M(counter, "till_log_lost_total", "", "Log lines that could not be written whole.")                                \
    M(gauge, "till_build_info", "version", "What runs; always 1.")                                                     \
    M(gauge, "till_certificate_expiry_time_seconds", "", "When the certificate in use ends, in seconds since 1970.")   \
    M(gauge, "till_disk_free_bytes", "place", "Room left on the disk of a folder that the server writes to.")          \
    M(gauge, "till_disk_size_bytes", "place", "Size of that disk.")                                                    \
    M(gauge, "till_metrics_series", "", "Series in use, of 4,096.")                                                    \
    M(counter, "till_metrics_dropped_total", "", "Measurements that had no room or no valid name.")
/* clang-format on */

#endif
