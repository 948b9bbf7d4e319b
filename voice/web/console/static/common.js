"use strict";
// What every page does: times in the viewer's own zone, requests that carry the session's proof, the two dialogs.

document.querySelectorAll("time[datetime]").forEach((time) => {
  const at = new Date(time.dateTime);
  time.title = time.textContent;
  time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
});

async function post(path, body) {
  const csrf = document.querySelector('meta[name="csrf"]').content;
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(body || {}),
  });
  let told = {};
  try {
    told = await response.json();
  } catch (error) {
    told = {};
  }
  if (!response.ok) throw new Error(told.message || `the server answers ${response.status}`);
  return told;
}

function announce(words) {
  document.getElementById("said").textContent = words;
}

// Ask, and do it: `call` is {call_sid, who, transfers}.
function ask(what, call) {
  const dialog = document.getElementById(what);
  const wrong = dialog.querySelector("[data-wrong]");
  wrong.hidden = true;
  dialog.querySelector("[data-who]").textContent = call.who;
  const targets = dialog.querySelector("[data-targets]");
  if (targets) {
    targets.replaceChildren(
      ...call.transfers.map((name) => {
        const button = document.createElement("button");
        button.value = name;
        button.className = "main";
        button.textContent = name;
        return button;
      }),
    );
  }
  const form = dialog.querySelector("form");
  form.onsubmit = async (event) => {
    const value = event.submitter ? event.submitter.value : "";
    if (!value) return;
    event.preventDefault();
    const path = `/console/calls/${call.call_sid}/`;
    try {
      if (what === "hang-up") await post(path + "hangup");
      else await post(path + "transfer", { to: value });
      announce(what === "hang-up" ? `Hanging up on ${call.who}` : `Putting ${call.who} through to ${value}`);
      dialog.close();
    } catch (error) {
      wrong.textContent = `Not done: ${error.message}`;
      wrong.hidden = false;
    }
  };
  dialog.showModal();
}

function lasts(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

// Server-sent events with the picture of all live calls; the browser connects again by itself.
function follow(onState, onCut) {
  const source = new EventSource("/console/events");
  source.addEventListener("state", (event) => {
    onCut(false);
    onState(JSON.parse(event.data));
  });
  source.addEventListener("bye", () => onCut(true));
  source.onerror = async () => {
    onCut(true);
    if (source.readyState !== EventSource.CLOSED) return;
    // Refused: perhaps the session is over. The page says so when it is loaded again.
    setTimeout(() => location.reload(), 5000);
  };
}
