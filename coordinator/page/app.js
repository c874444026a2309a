// Asks for the status once a second and shows it; asks for a key where the server wants one.

import { Refused, setKey, status } from "/page/api.js";
import { LiveCharts } from "/page/charts.js";
import { show } from "/page/format.js";
import { PromptBox } from "/page/prompt.js";
import { showStatus, showUnreachable } from "/page/status.js";

const POLL_MS = 1000;

const dialog = document.getElementById("key-dialog");
const opener = document.getElementById("key-open");
const input = document.getElementById("key");
const charts = new LiveCharts();
const prompt = new PromptBox(wantsKey);
let locked = false; // the server wants a key: nothing is asked until there is one
let tried = false; // a key was given

function wantsKey(failure) {
  if (!(failure instanceof Refused) || failure.status !== 401) return false;
  locked = true;
  show("state", "This server wants an API key.");
  show("key-failure", tried ? "The server did not take this key." : "");
  opener.hidden = false;
  if (!dialog.open) dialog.showModal();
  return true;
}

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(input.value);
  input.value = "";
  tried = true;
  locked = false;
  dialog.close();
  opener.hidden = true;
  poll();
});
opener.addEventListener("click", () => dialog.showModal());

async function poll() {
  try {
    const now = await status();
    showStatus(now);
    charts.add(now);
    prompt.update(now);
  } catch (failure) {
    if (wantsKey(failure)) return;
    showUnreachable();
    charts.gap();
  }
}

async function run() {
  for (;;) {
    if (!locked) await poll();
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

run();
