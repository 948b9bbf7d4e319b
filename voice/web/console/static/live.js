"use strict";
// The live page: rows are made once for each call and changed in place. Whatever callers say is text, never markup.

const list = document.getElementById("calls");
const rows = new Map();
let offset = Number(list.dataset.now) - Date.now() / 1000;

const FLOORS = { caller: "caller speaks", agent: "agent speaks", nobody: "nobody speaks" };
const SHORT = { transcriber: "hears", "language model": "thinks", synthesizer: "speaks" };

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function makeRow(call) {
  const row = document.getElementById("row").content.firstElementChild.cloneNode(true);
  const part = (name) => row.querySelector(`[data-is="${name}"]`);
  const who = call.caller || "unknown";
  part("caller").href = `/console/calls/${call.call_sid}`;
  write(part("caller"), who);
  write(part("agent"), call.agent);
  row.dataset.sid = call.call_sid;
  const transfer = row.querySelector('[data-do="transfer"]');
  transfer.hidden = call.transfers.length === 0;
  const told = { call_sid: call.call_sid, who, transfers: call.transfers };
  row.querySelectorAll("[data-do]").forEach((button) => {
    button.setAttribute("aria-label", `${button.textContent}: ${who}`);
    button.onclick = () => ask(button.dataset.do, told);
  });
  for (const vendor of Object.keys(call.health)) {
    const item = document.createElement("li");
    item.dataset.vendor = vendor;
    part("health").append(item);
  }
  return row;
}

function showRow(row, call) {
  const part = (name) => row.querySelector(`[data-is="${name}"]`);
  row.dataset.floor = call.floor;
  row.dataset.since = call.since;
  write(part("floor"), FLOORS[call.floor] || call.floor);
  write(part("said-caller"), call.said.caller);
  write(part("said-agent"), call.said.agent);
  part("took").parentNode.hidden = call.took === null;
  if (call.took !== null) write(part("took"), `${call.took.toFixed(1)} s`);
  part("health").childNodes.forEach((item) => {
    const state = call.health[item.dataset.vendor];
    item.className = state;
    item.title = `${item.dataset.vendor}: ${state}`;
    write(item, state === "ok" ? SHORT[item.dataset.vendor] : `${SHORT[item.dataset.vendor]}: ${state}`);
  });
}

function tick() {
  const now = Date.now() / 1000 + offset;
  for (const row of rows.values()) {
    write(row.querySelector('[data-is="lasts"]'), lasts(now - Number(row.dataset.since)));
  }
}

function show(picture) {
  offset = picture.now - Date.now() / 1000;
  const live = new Set(picture.calls.map((call) => call.call_sid));
  for (const [sid, row] of rows) {
    if (live.has(sid)) continue;
    announce(`The call of ${row.querySelector('[data-is="caller"]').textContent} is over`);
    if (row.contains(document.activeElement)) document.getElementById("main").focus();
    row.remove();
    rows.delete(sid);
  }
  for (const call of picture.calls) {
    if (!rows.has(call.call_sid)) {
      const row = makeRow(call);
      rows.set(call.call_sid, row);
      list.append(row);
      announce(`${call.caller || "unknown"} calls ${call.agent}`);
    }
    showRow(rows.get(call.call_sid), call);
  }
  document.getElementById("nobody").hidden = picture.calls.length > 0;
  document.getElementById("trouble").hidden = !picture.in_trouble;
  const words = {
    count: picture.calls.length,
    capacity: picture.capacity,
    workers: picture.workers,
    draining: picture.draining ? `, ${picture.draining} going` : "",
  };
  for (const [name, value] of Object.entries(words)) {
    write(document.querySelector(`[data-live="${name}"]`), String(value));
  }
  showDay(picture.day);
  tick();
}

function showDay(day) {
  if (!day.chart) return;
  for (const name of ["calls", "failed", "cost_usd"]) {
    write(document.querySelector(`[data-day="${name}"]`), String(day[name]));
  }
  for (const name of ["top", "latest"]) write(document.querySelector(`[data-chart="${name}"]`), day.chart[name]);
  for (const name of ["p50", "p95"]) document.getElementById(name).setAttribute("points", day.chart[name]);
  const failures = document.getElementById("failures");
  failures.hidden = day.failures.length === 0;
  const told = failures.querySelector("ul");
  if (told.textContent !== day.failures.join("")) {
    told.replaceChildren(
      ...day.failures.map((words) => {
        const item = document.createElement("li");
        item.textContent = words;
        return item;
      }),
    );
  }
}

follow(show, (cut) => {
  document.getElementById("cut").hidden = !cut;
});
setInterval(tick, 1000);
