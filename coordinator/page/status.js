// What the server says of itself, as the page shows it.

import { bytes, counted, element, number, percent, seconds, show } from "/page/format.js";

function part(name, share) {
  const made = element("span", { class: name });
  made.style.width = `${Math.min(100, 100 * share)}%`;
  return made;
}

// Held and reserved within the group's KV memory; the mark stands where full attention would be.
function memoryBar(group) {
  const total = group.kv_bytes_total;
  const held = Math.min(group.kv_bytes_held, group.kv_bytes_reserved);
  const text = `${bytes(group.kv_bytes_held)} held, ${bytes(group.kv_bytes_reserved)} reserved, ` +
    `${bytes(total - group.kv_bytes_reserved)} free of ${bytes(total)}; full attention would hold ${bytes(group.kv_bytes_full_attention)}` +
    (group.kv_bytes_full_attention > 0 ? ` (${percent(group.kv_bytes_full_attention, total)} of it)` : "");
  const bar = element("div", { class: "bar", role: "img", "aria-label": `KV memory: ${text}` });
  if (total > 0) {
    bar.append(part("held", held / total), part("reserved", (group.kv_bytes_reserved - held) / total));
    if (group.kv_bytes_full_attention > 0) bar.append(part("full", group.kv_bytes_full_attention / total));
  }
  return [bar, element("p", {}, text)];
}

function groupItem(group) {
  const word = group.healthy ? "healthy" : group.connected ? "silent" : "lost";
  const state = element("span", group.healthy ? {} : { class: "bad" }, word);
  const item = element("li", { "data-group": group.name }, element("h3", {}, `${group.name}: `, state));
  if (!group.connected) {
    item.append(element("p", {}, "Not connected."));
    return item;
  }
  item.append(...memoryBar(group));
  item.append(element("p", {}, `${counted(group.sequences_running, "sequence", "sequences")} running, ` +
    `${number(group.sequences_prefill)} of them reading the prompt; ${counted(group.requests_served, "request", "requests")} served, ` +
    `${counted(group.tokens_evicted_total, "token", "tokens")} evicted`));
  return item;
}

function requestRow(request) {
  const maybe = (value, format) => (value === null ? "–" : format(value));
  const cells = [
    new Date(request.ended_ms).toLocaleTimeString([], { hour12: false }),
    request.id.slice(0, 12),
    request.outcome,
    request.compression === "off" ? "off" : `${request.compression} ${request.kv_budget}`,
    number(request.prompt_tokens),
    number(request.completion_tokens),
    maybe(request.first_token_seconds, seconds),
    seconds(request.seconds),
    maybe(request.kv_bytes_held, bytes),
    maybe(request.tokens_evicted, (count) => number(count)),
  ];
  return element("tr", {}, ...cells.map((text) => element("td", {}, text)));
}

export function showStatus(status) {
  show("model", status.model);
  show("version", status.version);
  document.title = `${status.model} – batchmax`;
  const healthy = status.groups.filter((group) => group.healthy).length;
  show("state", status.groups.length === 0 ? "No group has joined yet." : `${healthy} of ${status.groups.length} groups healthy.`);
  document.getElementById("state").classList.toggle("bad", healthy === 0);
  document.getElementById("groups").replaceChildren(...status.groups.map(groupItem));
  document.getElementById("recent").replaceChildren(...status.recent_requests.map(requestRow));
  document.getElementById("recent-none").hidden = status.recent_requests.length > 0;
}

export function showUnreachable() {
  show("state", "The server does not answer; asking again every second.");
  document.getElementById("state").classList.add("bad");
}
