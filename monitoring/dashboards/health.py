"""Whether the groups live, and what clients notice when they do not."""
from panels import GROUP, RATE, Figure, Panel, Row, board

BOARD = board("Health", "Groups, restarts, replays, errors and idle time.", [
    Row("Now", [
        Figure("Groups up", "Connected and answering.", "short", {f"sum(batchmax_group_up{{{GROUP}}})": "up"},
               colours=("red", (1, "green"))),
        Figure("Groups known", "That have connected since the coordinator's start.", "short", {
            f"count(batchmax_group_up{{{GROUP}}})": "known"}),
        Figure("Restarts in an hour", "Of all selected groups.", "short", {
            f"sum(increase(batchmax_group_restarts_total{{{GROUP}}}[1h]))": "restarts"}, colours=("green", (0.5, "orange"), (2.5, "red"))),
        Figure("Replays in an hour", "Requests that went on elsewhere after their group was lost.", "short", {
            "sum(increase(batchmax_requests_replayed_total[1h]))": "replays"}, colours=("green", (0.5, "orange"))),
    ]),
    Row("Groups", [
        Panel("Up", "1: connected and answering.", "short", {f"batchmax_group_up{{{GROUP}}}": "{{group}}"}, most=1),
        Panel("Starts in an hour", "Times that the group's epoch changed: each is a new start.", "short", {
            f"changes(batchmax_group_epoch{{{GROUP}}}[1h])": "{{group}}"}),
        Panel("Losses and restarts", "In the last ten minutes.", "short", {
            f"sum by (group) (increase(batchmax_group_losses_total{{{GROUP}}}[10m]))": "{{group}} lost",
            f"sum by (group) (increase(batchmax_group_restarts_total{{{GROUP}}}[10m]))": "{{group}} restarted"}),
        Panel("Age of the last message", "A leader speaks every 250 ms; at 1 s its group is lost.", "s", {
            f"batchmax_group_message_age_seconds{{{GROUP}}}": "{{group}}"}, limit=1),
        Panel("Age of the last round trip", "Through every rank; from 30 s on the group is not healthy.", "s", {
            f"batchmax_group_round_trip_age_seconds{{{GROUP}}}": "{{group}}"}, limit=30),
        Panel("Idle share", "Of a group's time without a step.", "percentunit", {
            "clamp_min(1 - sum by (group) (rate(batchmax_step_seconds_sum"
            f'{{{GROUP},phase=~"prefill|decode|mixed"}}{RATE})), 0)': "{{group}}"}, most=1),
    ]),
    Row("What clients notice", [
        Panel("HTTP answers per second", "By status.", "reqps", {
            f"sum by (code) (rate(batchmax_http_responses_total{RATE}))": "{{code}}"}, stacked=True),
        Panel("Requests that failed per second", "After they had been accepted.", "reqps", {
            f'sum(rate(batchmax_requests_total{{finish_reason="error"}}{RATE}))': "error"}),
        Panel("Replays per second", "A replay costs a delay, not a request.", "reqps", {
            f"sum(rate(batchmax_requests_replayed_total{RATE}))": "replays"}),
    ]),
])
