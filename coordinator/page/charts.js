// Two charts of the last five minutes. Rates are made here, from the totals that the groups report: a group that was
// started anew begins at zero and leaves a gap.
/* global uPlot */

import { number, show } from "/page/format.js";

const SAMPLES = 300; // one a second
const RATE_OVER = 3; // polls: groups report four times a second at most, once when idle
const HEIGHT = 180;
// Room for half of the newest time at the right edge.
const PADDING = [null, 30, null, null];
// Steps of the vertical axis: whole sequences, whole tokens.
const STEPS = [1, 2, 5].flatMap((digit) => [0, 1, 2, 3, 4, 5, 6, 7, 8].map((power) => digit * 10 ** power)).sort((a, b) => a - b);

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

class Chart {
  constructor(id, axisLabel) {
    this.frame = document.getElementById(id);
    this.data = [[], [], []];
    const axis = { stroke: () => colour("--muted"), grid: { stroke: () => colour("--grid"), width: 1 } };
    this.plot = new uPlot(
      {
        width: this.frame.clientWidth,
        height: HEIGHT,
        padding: PADDING,
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1) * 1.1] } },
        axes: [
          {
            ...axis,
            size: 32,
            space: 90, // a time is some 60 wide
            incrs: [1, 5, 10, 15, 30, 60, 120],
            values: (_, times) => times.map((time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false })),
          },
          { ...axis, label: axisLabel, size: 60, incrs: STEPS },
        ],
        series: [
          {},
          { stroke: () => colour("--held"), width: 2 },
          { stroke: () => colour("--second"), width: 2, dash: [6, 4] },
        ],
      },
      this.data,
      this.frame,
    );
    new ResizeObserver(() => this.plot.setSize({ width: this.frame.clientWidth, height: HEIGHT })).observe(this.frame);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.plot.redraw(false, true));
  }

  add(time, first, second, description) {
    [time, first, second].forEach((value, series) => {
      this.data[series].push(value);
      if (this.data[series].length > SAMPLES) this.data[series].shift();
    });
    this.plot.setData(this.data);
    this.frame.setAttribute("aria-label", description);
  }
}

// Tokens per second between two samples, over the groups that are the same start in both; null where none is.
function rate(before, after, total) {
  let sum = null;
  for (const group of after.groups) {
    const then = before.groups.find((one) => one.name === group.name && one.epoch === group.epoch);
    if (!then || !group.connected || group[total] < then[total]) continue;
    sum = (sum ?? 0) + (group[total] - then[total]) / (after.time - before.time);
  }
  return sum;
}

export class LiveCharts {
  constructor() {
    this.tokens = new Chart("tokens-chart", "tokens/s");
    this.sequences = new Chart("sequences-chart", "sequences");
    this.samples = [];
  }

  add(status) {
    const sample = { time: Date.now() / 1000, groups: status.groups };
    this.samples.push(sample);
    if (this.samples.length > RATE_OVER + 1) this.samples.shift();
    const before = this.samples[0];
    const rates = ["generation_tokens_total", "prompt_tokens_total"].map((total) => (before === sample ? null : rate(before, sample, total)));
    const words = rates.map((value) => (value === null ? "–" : number(value)));
    show("written", words[0]);
    show("read", words[1]);
    this.tokens.add(sample.time, ...rates, `Tokens per second over the last five minutes; now ${words[0]} written, ${words[1]} read`);

    const running = status.groups.reduce((sum, group) => sum + (group.connected ? group.sequences_running : 0), 0);
    show("running", number(running));
    show("waiting", number(status.requests_waiting));
    this.sequences.add(sample.time, running, status.requests_waiting,
      `Sequences over the last five minutes; now ${running} running, ${status.requests_waiting} waiting`);
  }

  gap() {
    this.samples = [];
    const now = Date.now() / 1000;
    this.tokens.add(now, null, null, "Tokens per second: the server does not answer");
    this.sequences.add(now, null, null, "Sequences: the server does not answer");
  }
}
