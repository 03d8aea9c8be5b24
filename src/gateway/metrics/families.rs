//! Every metric of a gateway, by name. `docs/metrics.md` is this table.

use crate::telemetry::Family;

const CHAIN: &[&str] = &["chain"];
const BACKEND: &[&str] = &["chain", "backend"];

macro_rules! families {
    ($($name:ident = $kind:ident($text:literal, $labels:expr, $help:literal);)*) => {
        $(pub(super) static $name: Family = Family::$kind($text, $labels, $help);)*
        /// All of them, in the order in which they are told.
        #[cfg(test)]
        pub(super) static ALL: &[&Family] = &[$(&$name),*];
    };
}

families! {
    // --- the whole
    BUILD_INFO = gauge("outrigger_build_info", &["version"], "Always 1; the label says what runs.");
    READY = gauge("outrigger_ready", CHAIN, "1 while the chain has a backend that can be asked with some hope.");

    // --- what clients asked
    REQUESTS = counter("outrigger_requests_total", &["chain", "method", "class", "source", "result"],
        "Requests that were answered, items of batches each for itself. Methods that are not known are other. source is backend, cache, follower, journal or local. result is ok; error where a node said so; refused where the proxy did; failed where no node gave its word.");
    REQUEST_DURATION = histogram("outrigger_request_duration_seconds", &["chain", "class"],
        "Time from a request, read, to its answer, whole. Items of a batch take as long as the batch.");
    MALFORMED = counter("outrigger_malformed_requests_total", CHAIN, "Bodies and items of batches that are no JSON-RPC requests.");
    ABANDONED = counter("outrigger_abandoned_requests_total", CHAIN, "Requests whose client left before they were answered.");
    SHED = counter("outrigger_shed_requests_total", CHAIN, "Calls and groups of a batch that were turned away because all backends together had no room.");
    SESSIONS = gauge("outrigger_websocket_connections", CHAIN, "WebSockets of clients, and sessions of embedders.");
    SUBSCRIPTIONS = gauge("outrigger_subscriptions", CHAIN, "Subscriptions that live.");
    FILTERS = gauge("outrigger_filters", CHAIN, "Filters that live.");

    // --- what went to backends
    CARRIED = counter("outrigger_carried_calls_total", CHAIN, "Calls of clients that a backend had to be asked for.");
    HEDGES = counter("outrigger_hedges_total", CHAIN, "Calls sent to a second backend while the first was silent.");
    RETRIES = counter("outrigger_retries_total", CHAIN, "Calls sent to another backend after a failure.");
    COPIES = counter("outrigger_copies_total", CHAIN, "Calls sent to a backend on its way back as well, to prove it.");
    ATTEMPTS = counter("outrigger_attempts_total", &["chain", "backend", "outcome"],
        "Calls of clients that were sent to a backend, by what they came to there; cancelled where somebody else answered first or the client left. Copies and the proxy's own questions are not among them.");
    ATTEMPT_DURATION = histogram("outrigger_attempt_duration_seconds", BACKEND,
        "Time that attempts took, whatever they came to, those that were cancelled excepted.");
    BACKEND_CALLS = counter("outrigger_backend_calls_total", &["chain", "backend", "method"],
        "Everything that a backend was asked for, copies and the proxy's own questions included: what its provider bills.");
    BACKEND_CREDITS = counter("outrigger_backend_credits_total", BACKEND, "What that costs, in plain reads.");

    // --- how backends are
    BACKEND_INFO = gauge("outrigger_backend_info", &["chain", "backend", "tier", "private", "provider", "cloud", "region"],
        "Always 1; the labels say where a backend lies, as far as that is written or was seen.");
    BACKEND_UP = gauge("outrigger_backend_up", BACKEND, "1 while the backend can be asked with some hope.");
    BACKEND_STATE = gauge("outrigger_backend_state", &["chain", "backend", "state"], "1 for the state that the backend is in, 0 for the others.");
    BACKEND_FAVOURITE = gauge("outrigger_backend_favourite", BACKEND, "1 for the backend that serves in calm weather.");
    BACKEND_IN_FLIGHT = gauge("outrigger_backend_in_flight_calls", BACKEND, "Calls under way.");
    BACKEND_CONNECTIONS = gauge("outrigger_backend_connections", BACKEND, "Open connections.");
    BACKEND_UTILISATION = gauge("outrigger_backend_utilisation_ratio", BACKEND, "How much of what the backend can take is in use, as far as it has shown its limit.");
    BACKEND_ERRORS = gauge("outrigger_backend_error_ratio", &["chain", "backend", "class"], "Estimated share of calls that fail, of late.");
    BACKEND_LATENCY = gauge("outrigger_backend_expected_latency_seconds", &["chain", "backend", "class"], "Expected latency of a call.");
    BACKEND_HEAD = gauge("outrigger_backend_head_block_number", BACKEND, "The latest block that the backend named.");
    BACKEND_LAG = gauge("outrigger_backend_head_lag_blocks", BACKEND, "Blocks behind what clients are told, as far as the backend surely has them.");
    BACKEND_LATENESS = gauge("outrigger_backend_head_lateness_seconds", BACKEND, "Average delay behind whoever shows a block first.");
    BACKEND_WEBSOCKET = gauge("outrigger_backend_websocket_connected", BACKEND, "1 while heads are followed that the backend pushes; absent where it has no ws.");
    BUDGET = gauge("outrigger_backend_budget_credits", BACKEND, "Its monthly_budget, in plain reads; absent where it has none.");
    BUDGET_USED = gauge("outrigger_backend_budget_used_credits", BACKEND, "Used of that this month.");
    INDEPENDENT = gauge("outrigger_effective_independent_backends", CHAIN, "The effective number of backends that fail independently.");
    FAILING_DOMAINS = gauge("outrigger_failing_domains", CHAIN, "Failure domains that fail as a whole.");

    // --- where the chain stands
    HEAD = gauge("outrigger_head_block_number", CHAIN, "The block that clients are told is the latest.");
    FINALIZED = gauge("outrigger_finalized_block_number", CHAIN, "The last final block that independent backends agree on.");
    BLOCK_TIME = gauge("outrigger_block_time_seconds", CHAIN, "Estimated time between blocks.");
    HALTED = gauge("outrigger_chain_halted", CHAIN, "1 while no backend has a new block for much longer than that.");
    FORKED = gauge("outrigger_chain_forked", CHAIN, "1 while backends follow different branches.");
    HALTS = counter("outrigger_halts_total", CHAIN, "How often the chain stood still.");
    FORKS = counter("outrigger_forks_total", CHAIN, "How often backends were seen on different branches.");
    REORGS = counter("outrigger_reorgs_total", CHAIN, "How often the served chain took blocks back.");
    REORGED = counter("outrigger_reorged_blocks_total", CHAIN, "Blocks of the served chain that were taken back.");

    // --- transactions
    TRANSACTIONS = gauge("outrigger_transactions", &["chain", "state"], "Transactions that were handed in, by what has become of them; what is over counts for an hour.");
    TRANSACTION_CHANGES = counter("outrigger_transaction_changes_total", &["chain", "state"], "Transactions that came to a state; one comes to several, one after the other.");
    TRANSACTIONS_BEHIND_GAP = gauge("outrigger_transactions_behind_gap", CHAIN, "Transactions under way that wait for a nonce that nobody has sent.");
    RESENDS = counter("outrigger_transaction_resends_total", CHAIN, "How often a transaction was sent to a backend again.");
    JOURNAL_WRITES = counter("outrigger_journal_writes_total", &[], "Records that were written to the journal and synced.");
    JOURNAL_ERRORS = counter("outrigger_journal_write_errors_total", &[], "Records that could not be written: new transactions among them were not sent.");
    JOURNAL_SYNC = histogram("outrigger_journal_sync_duration_seconds", &[], "Time that the journal's file took for writes that shared one sync.");

    // --- what was answered without a backend
    CACHE_HITS = counter("outrigger_cache_hits_total", CHAIN, "Calls that were answered by what is kept.");
    CACHE_MISSES = counter("outrigger_cache_misses_total", CHAIN, "Calls that might have been, and were not.");
    CACHE_KEPT = counter("outrigger_cache_stored_total", CHAIN, "Answers that were kept.");
    CACHE_OUTDATED = counter("outrigger_cache_outdated_total", CHAIN, "Kept answers that no longer held when they were asked for.");
    COALESCED = counter("outrigger_coalesced_calls_total", CHAIN, "Calls that shared the answer which somebody else was about to get.");
    WAITING = gauge("outrigger_coalesced_waiting_calls", CHAIN, "Calls that wait for such an answer.");
    SAVED = counter("outrigger_saved_credits_total", CHAIN, "What both would have cost, in plain reads.");
    CACHE_ENTRIES = gauge("outrigger_cache_entries", &["tier"], "Answers that are kept, by tier: memory, disk.");
    CACHE_BYTES = gauge("outrigger_cache_bytes", &["tier"], "Bytes that they take.");
    CACHE_LIMIT = gauge("outrigger_cache_limit_bytes", &["tier"], "The bound of that.");
    CACHE_EVICTIONS = counter("outrigger_cache_evictions_total", &[], "Answers in memory that had to make room for others.");
    DISK_HITS = counter("outrigger_cache_disk_hits_total", &[], "Answers that were found on disk.");
    DISK_LEFT_OUT = counter("outrigger_cache_disk_left_out_total", &[], "Answers that were not written because the disk is slow.");
    DISK_BROKEN = gauge("outrigger_cache_disk_broken", &[], "1 while the file of the cache cannot be used.");
}
