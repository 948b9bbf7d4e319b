"use strict";
// One call's page: its buttons while it is live, and the recording in step with the transcript.

const acts = document.getElementById("acts");
if (acts) {
  const { sid, who, targets } = acts.dataset;
  const call = { call_sid: sid, who, transfers: targets.split(" ").filter(Boolean) };
  acts.querySelectorAll("[data-do]").forEach((button) => {
    button.onclick = () => ask(button.dataset.do, call);
  });
  let shown = null;
  let now = null;
  // A turn more, or the end: the page is told anew by the server, and the browser keeps the place that is looked at.
  const renew = () => {
    if (now === shown || document.querySelector("dialog[open]")) return;
    keepFocus();
    location.reload();
  };
  document.querySelectorAll("dialog").forEach((dialog) => dialog.addEventListener("close", renew));
  follow((picture) => {
    const live = picture.calls.find((each) => each.call_sid === sid);
    now = live ? live.turn : -1;
    if (shown === null) shown = now;
    renew();
  }, () => {});
}

// Whoever goes by the keyboard goes on from where he was, or from the top of the content if that is gone.
function alike(name, words) {
  return [...document.querySelectorAll(name)].filter((each) => each.textContent === words);
}

function keepFocus() {
  const it = document.activeElement;
  if (!it || !it.matches(":focus-visible")) return;
  const place = alike(it.localName, it.textContent).indexOf(it);
  sessionStorage.setItem("focus", JSON.stringify([it.localName, it.textContent, place]));
}

const kept = sessionStorage.getItem("focus");
if (kept) {
  sessionStorage.removeItem("focus");
  const [name, words, place] = JSON.parse(kept);
  (alike(name, words)[place] || document.getElementById("main")).focus({ preventScroll: true });
}

const sound = document.getElementById("sound");
if (sound) {
  const turns = [...document.querySelectorAll("[data-from]")];
  document.querySelectorAll("[data-seek]").forEach((button) => {
    button.onclick = () => {
      sound.currentTime = Math.max(0, Number(button.dataset.seek) - 0.3);
      sound.play();
    };
  });
  sound.ontimeupdate = () => {
    const now = sound.currentTime + 0.3;
    const current = turns.filter((turn) => Number(turn.dataset.from) <= now).pop();
    for (const turn of turns) {
      const is = turn === current && !sound.paused;
      if (turn.classList.contains("now") !== is) turn.classList.toggle("now", is);
    }
  };
}
