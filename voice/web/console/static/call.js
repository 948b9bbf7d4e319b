"use strict";
// One call's page: its buttons while it is live, and the recording in step with the transcript.

const acts = document.getElementById("acts");
if (acts) {
  const { sid, who, targets } = acts.dataset;
  const call = { call_sid: sid, who, transfers: targets.split(" ").filter(Boolean) };
  acts.querySelectorAll("[data-do]").forEach((button) => {
    button.onclick = () => ask(button.dataset.do, call);
  });
  let turn = null;
  follow((picture) => {
    const live = picture.calls.find((each) => each.call_sid === sid);
    // A turn more, or the end: the page is told anew by the server, which keeps the place that is looked at.
    const now = live ? live.turn : -1;
    if (turn !== null && now !== turn && !document.querySelector("dialog[open]")) location.reload();
    else turn = now;
  }, () => {});
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
