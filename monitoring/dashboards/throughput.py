"""How much work the groups do, how long it takes, and what a step's time goes to."""
from panels import GROUP, RATE, Panel, Row, board, quantiles

WHOLE = 'phase=~"prefill|decode|mixed"'  # batchmax_step_seconds has whole steps and parts of steps
PARTS = 'phase=~"all_reduce|selection|plan"'

BOARD = board("Throughput", "Tokens, requests, latency and step time.", [
    Row("Work", [
        Panel("Tokens per second", "Prompt tokens read and tokens written, over all selected groups.", "short", {
            f"sum(rate(batchmax_prompt_tokens_total{{{GROUP}}}{RATE}))": "in",
            f"sum(rate(batchmax_generation_tokens_total{{{GROUP}}}{RATE}))": "out"}),
        Panel("Tokens written per second by group", "Uneven: look at the groups' health and headroom.", "short", {
            f"sum by (group) (rate(batchmax_generation_tokens_total{{{GROUP}}}{RATE}))": "{{group}}"}, stacked=True),
        Panel("Requests ended per second", "By reason: stop and length are answers, abort a client that left.", "reqps", {
            f"sum by (finish_reason) (rate(batchmax_requests_total{RATE}))": "{{finish_reason}}"}, stacked=True),
        Panel("Effective batch", "Sequences that get a token in one step that decodes: what compression is for.", "short", {
            f"sum by (group) (rate(batchmax_generation_tokens_total{{{GROUP}}}{RATE})) / "
            f'sum by (group) (rate(batchmax_step_seconds_count{{{GROUP},phase=~"decode|mixed"}}{RATE}))': "{{group}}"}),
        Panel("Sequences", "Admitted sequences, and those of them that still read their prompt.", "short", {
            f"sum(batchmax_sequences_running{{{GROUP}}})": "running",
            f"sum(batchmax_sequences_prefill{{{GROUP}}})": "in prefill"}),
        Panel("Steps per second", "By group.", "ops", {
            f"sum by (group) (rate(batchmax_steps_total{{{GROUP}}}{RATE}))": "{{group}}"}),
    ]),
    Row("Latency as clients see it, over all groups", [
        Panel("Time to first token", "From acceptance, so it includes the wait in the queue. The line is the alerts' objective.", "s",
              quantiles("batchmax_time_to_first_token_seconds"), limit=2),
        Panel("Between two tokens", "Of one stream.", "s", quantiles("batchmax_inter_token_seconds")),
        Panel("Whole request", "From acceptance to the last token.", "s", quantiles("batchmax_request_seconds")),
    ]),
    Row("Where the time goes", [
        Panel("Step time", "By what the step did: decode rows only, prompt blocks only, both.", "s", {
            f"histogram_quantile({q}, sum by (le, phase) (rate(batchmax_step_seconds_bucket{{{GROUP},{WHOLE}}}{RATE})))":
            f"p{round(100 * q)} {{{{phase}}}}" for q in (0.5, 0.99)}),
        Panel("Share of time by phase", "Of the selected groups' time; what is missing to 100 % is idle.", "percentunit", {
            f"sum by (phase) (rate(batchmax_step_seconds_sum{{{GROUP},{WHOLE}}}{RATE})) / "
            f"scalar(sum(batchmax_group_up{{{GROUP}}}))": "{{phase}}"}, stacked=True, most=1),
        Panel("Share of time by part", "All-reduce between ranks, choosing victims, the leader's own work.", "percentunit", {
            f"sum by (phase) (rate(batchmax_step_seconds_sum{{{GROUP},{PARTS}}}{RATE})) / "
            f"scalar(sum(batchmax_group_up{{{GROUP}}}))": "{{phase}}"}),
    ]),
])
