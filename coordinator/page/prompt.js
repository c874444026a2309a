// The prompt box: one chat completion at a time, streamed, with what it cost.

import { chat } from "/page/api.js";
import { bytesOf, number, percent, seconds, show } from "/page/format.js";

const FIGURES = ["tokens", "first", "rate", "evicted", "held", "saved"];

export class PromptBox {
  // refused(failure): told of what the server refuses, and answers whether it deals with it.
  constructor(refused) {
    this.refused = refused;
    this.form = document.getElementById("form");
    this.answer = document.getElementById("answer");
    this.budget = document.getElementById("budget");
    this.running = null; // AbortController of the request at work
    this.status = null; // the server's last
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.form.addEventListener("input", () => this.showSettings());
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
      if (event.key === "Escape") this.running?.abort();
    });
    document.getElementById("stop").addEventListener("click", () => this.running?.abort());
  }

  // Defaults come with the first status that has a model; what a person has set since then stays.
  update(status) {
    if (!this.status?.max_model_len && status.max_model_len) {
      this.budget.max = status.max_model_len;
      this.budget.value = status.kv_budget;
      document.getElementById("length").max = Math.min(2048, status.max_model_len / 2); // the rest is for the prompt
      this.form.elements.mode.value = status.compression;
      this.showSettings();
    }
    this.status = status;
    document.getElementById("send").disabled = this.running !== null || !status.chat;
    if (!status.chat) show("failure", "This model has no chat template: ask /v1/completions instead.");
  }

  showSettings() {
    this.budget.disabled = this.form.elements.mode.value === "off";
    show("budget-value", this.budget.value);
    show("length-value", document.getElementById("length").value);
  }

  request() {
    const body = {
      messages: [{ role: "user", content: document.getElementById("prompt").value }],
      max_tokens: Number(document.getElementById("length").value),
      compression: this.form.elements.mode.value,
      temperature: 0,
    };
    if (body.compression !== "off") body.kv_budget = Number(this.budget.value);
    return body;
  }

  async send() {
    if (this.running !== null || !this.status?.chat) return;
    this.begin();
    const timing = { begin: performance.now(), first: null };
    try {
      for await (const event of chat(this.request(), this.running.signal)) this.take(event, timing);
    } catch (failure) {
      const stopped = failure.name === "AbortError";
      if (!stopped && !this.refused(failure)) show("failure", failure.message);
    }
    this.end();
  }

  begin() {
    this.running = new AbortController();
    this.answer.replaceChildren();
    this.answer.setAttribute("aria-busy", "true"); // read out when whole, not word by word
    for (const figure of FIGURES) show(`answer-${figure}`, "–");
    show("failure", "");
    document.getElementById("send").disabled = true;
    document.getElementById("stop").disabled = false;
  }

  end() {
    this.running = null;
    this.answer.setAttribute("aria-busy", "false");
    document.getElementById("send").disabled = false;
    document.getElementById("stop").disabled = true;
  }

  take(event, timing) {
    const text = event.choices[0]?.delta.content;
    if (text) {
      if (timing.first === null) {
        timing.first = performance.now();
        show("answer-first", seconds((timing.first - timing.begin) / 1000));
      }
      this.answer.append(text);
      this.answer.scrollTop = this.answer.scrollHeight;
    }
    if (event.usage) this.showFigures(event.usage, event.batchmax, timing);
  }

  showFigures(usage, memory, timing) {
    show("answer-tokens", `${number(usage.prompt_tokens)} / ${number(usage.completion_tokens)}`);
    if (timing.first !== null && usage.completion_tokens > 1) {
      const rate = (usage.completion_tokens - 1) / ((performance.now() - timing.first) / 1000);
      show("answer-rate", `${number(rate, rate < 100 ? 1 : 0)} tokens/s`);
    }
    if (memory?.kv_bytes_held === undefined) return;
    const full = (usage.prompt_tokens + usage.completion_tokens) * this.status.kv_bytes_per_token;
    show("answer-evicted", number(memory.tokens_evicted));
    show("answer-held", bytesOf(memory.kv_bytes_held, full));
    show("answer-saved", percent(Math.max(0, full - memory.kv_bytes_held), full));
  }
}
