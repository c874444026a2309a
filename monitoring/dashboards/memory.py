"""What KV memory is given to, what compression saves, and who waits for memory."""
from panels import GROUP, RATE, Panel, Row, board

BOARD = board("Memory", "KV pages, compression, device memory and the admission queue.", [
    Row("KV cache", [
        Panel("Pages", "64 slots each. Reserved pages belong to admitted sequences until they end.", "short", {
            f"sum by (group) (batchmax_kv_pages_total{{{GROUP}}})": "{{group}} total",
            f"sum by (group) (batchmax_kv_pages_reserved{{{GROUP}}})": "{{group}} reserved",
            f"sum by (group) (batchmax_kv_pages_free{{{GROUP}}})": "{{group}} free"}),
        Panel("Reserved share", "At 100 % requests wait.", "percentunit", {
            f"batchmax_kv_cache_usage{{{GROUP}}}": "{{group}}"}, most=1),
        Panel("Headroom", "Share of the pages that nobody has reserved: where the next request goes.", "percentunit", {
            f"batchmax_kv_pages_free{{{GROUP}}} / (batchmax_kv_pages_total{{{GROUP}}} > 0)": "{{group}}"}, most=1),
    ]),
    Row("Compression, and what memory is used for", [
        Panel("KV bytes", "Held now, the most since start, given to the cache, and what full attention would hold.", "bytes", {
            f"sum(batchmax_kv_bytes_held{{{GROUP}}})": "held",
            f"sum(batchmax_kv_bytes_peak{{{GROUP}}})": "peak",
            f"sum(batchmax_kv_bytes_full_attention{{{GROUP}}})": "full attention",
            f"sum(batchmax_kv_bytes_capacity{{{GROUP}}})": "capacity"}),
        Panel("Held of full attention", "1: nothing is evicted. No value while nothing runs.", "percentunit", {
            f"sum by (group) (batchmax_kv_bytes_held{{{GROUP}}}) / "
            f"(sum by (group) (batchmax_kv_bytes_full_attention{{{GROUP}}}) > 0)": "{{group}}"}),
        Panel("Evicted per second", "Slots per KV head, while prompts are read and while answers are written.", "short", {
            f"sum by (phase) (rate(batchmax_tokens_evicted_total{{{GROUP}}}{RATE}))": "{{phase}}"}, stacked=True),
        Panel("Device memory", "By use, over all ranks of the selected groups, at their start.", "bytes", {
            f"sum by (use) (batchmax_device_memory_bytes{{{GROUP}}})": "{{use}}"}, stacked=True),
    ]),
    Row("Admission", [
        Panel("Waiting requests", "By what they wait for: pages, a place (--max-num-seqs), a group that is large enough.", "short", {
            "sum(batchmax_requests_waiting)": "all",
            "sum by (reason) (batchmax_requests_waiting_for)": "for {{reason}}"}),
        Panel("Waiting prompt tokens", "The queue is bounded by --max-num-queued-tokens.", "short", {
            "sum(batchmax_requests_waiting_tokens)": "tokens"}),
        Panel("Refused per second", "By reason; queue_full and no_group carry Retry-After.", "reqps", {
            f"sum by (reason) (rate(batchmax_requests_rejected_total{RATE}))": "{{reason}}"}, stacked=True),
    ]),
])
