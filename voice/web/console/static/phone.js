"use strict";
// The browser phone: Twilio's Media Stream messages, from the caller's side, over one socket to our own server.

const dial = document.getElementById("dial");
const state = document.getElementById("state");
const talk = document.getElementById("talk");
const SPEECH = 0.02; // louder than that is the caller's voice, for what is measured here

let call = null;

class BrowserCall {
  constructor(told) {
    this.sid = told.call_sid;
    this.parameters = told.parameters;
    this.stream = `MZ${hex(16)}`;
    this.sequence = 0;
    this.chunk = 0;
    this.began = Date.now();
    this.spokeAt = null;
    this.said = { caller: "", agent: "" };
    this.last = null;
    this.turn = 0;
  }

  async start(worklet) {
    this.context = new AudioContext({ latencyHint: "interactive" });
    const sound = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
    [this.microphone] = await Promise.all([
      navigator.mediaDevices.getUserMedia({ audio: sound }),
      this.context.audioWorklet.addModule(worklet),
      this.context.resume(),
    ]);
    this.mouth = new AudioWorkletNode(this.context, "mouth", { numberOfInputs: 0, outputChannelCount: [1] });
    this.mouth.connect(this.context.destination);
    this.mouth.port.onmessage = ({ data }) => this.played(data);
    this.ear = new AudioWorkletNode(this.context, "ear", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.context.createMediaStreamSource(this.microphone).connect(this.ear);
    await this.connect();
    this.ear.port.onmessage = ({ data }) => this.heard(data);
  }

  connect() {
    const url = new URL("/console/phone/stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url);
    this.socket.onmessage = ({ data }) => this.told(JSON.parse(data));
    this.socket.onclose = (event) => this.end(event.reason || "The connection is over.");
    return new Promise((resolve, reject) => {
      this.socket.onerror = () => reject(new Error("the server does not take the call"));
      this.socket.onopen = () => {
        this.socket.send(JSON.stringify({ event: "connected", protocol: "Call", version: "1.0.0" }));
        this.send("start", {
          accountSid: `AC${"0".repeat(32)}`,
          streamSid: this.stream,
          callSid: this.sid,
          tracks: ["inbound"],
          mediaFormat: { encoding: "audio/x-mulaw", sampleRate: 8000, channels: 1 },
          customParameters: this.parameters,
        });
        resolve();
      };
    });
  }

  send(event, told) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.sequence += 1;
    this.socket.send(JSON.stringify({ event, sequenceNumber: String(this.sequence), streamSid: this.stream, [event]: told }));
  }

  // The microphone: 160 bytes of mu-law, 50 times a second.
  heard({ mulaw, level }) {
    this.chunk += 1;
    const payload = btoa(String.fromCharCode(...mulaw));
    this.send("media", { track: "inbound", chunk: String(this.chunk), timestamp: String((this.chunk - 1) * 20), payload });
    document.getElementById("mine").value = scale(level);
    if (level > SPEECH) this.spokeAt = performance.now();
  }

  told(message) {
    if (message.event === "media") {
      const mulaw = Uint8Array.from(atob(message.media.payload), (letter) => letter.charCodeAt(0));
      this.mouth.port.postMessage({ mulaw });
    } else if (message.event === "mark") {
      this.mouth.port.postMessage({ mark: message.mark.name });
    } else if (message.event === "clear") {
      this.mouth.port.postMessage({ clear: true });
    }
  }

  played({ mark, level, sounds }) {
    if (mark !== undefined) this.send("mark", { name: mark });
    if (level === undefined) return;
    document.getElementById("theirs").value = scale(level);
    if (sounds && level > 0.003 && this.spokeAt !== null) {
      const waited = (performance.now() - this.spokeAt) / 1000;
      if (waited > 0.25) document.getElementById("waited").textContent = `${waited.toFixed(1)} s`;
      this.spokeAt = null;
    }
  }

  press(digit) {
    this.send("dtmf", { track: "inbound_track", digit });
  }

  // What both have said, as the server knows it.
  show(picture) {
    const live = picture.calls.find((each) => each.call_sid === this.sid);
    if (!live) return;
    if (live.took !== null) document.getElementById("took").textContent = `${live.took.toFixed(1)} s`;
    for (const who of ["caller", "agent"]) {
      const words = live.said[who];
      if (!words || words === this.said[who]) continue;
      this.said[who] = words;
      const goesOn = this.last && this.last.who === who && (who === "caller" || this.turn === live.turn);
      if (!goesOn) this.last = { who, node: bubble(who) };
      this.last.node.textContent = words;
      if (who === "agent") this.turn = live.turn;
    }
  }

  hangUp() {
    this.send("stop", { accountSid: `AC${"0".repeat(32)}`, callSid: this.sid });
    this.socket.close(1000);
    this.end("You have hung up.");
  }

  end(why) {
    if (call !== this) return;
    call = null;
    this.socket.onclose = null;
    if (this.microphone) this.microphone.getTracks().forEach((track) => track.stop());
    if (this.context) this.context.close();
    over(why);
  }
}

function scale(level) {
  return Math.min(1, Math.sqrt(level) * 1.6);
}

function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bubble(who) {
  const item = document.createElement("li");
  item.className = who;
  const by = document.createElement("span");
  by.className = "by";
  by.textContent = who === "caller" ? "You" : "Agent";
  const words = document.createElement("span");
  item.append(by, words);
  talk.append(item);
  return words;
}

function over(why) {
  state.textContent = why;
  dial.textContent = "Call";
  dial.className = "main dial";
  document.querySelectorAll("[data-key]").forEach((key) => { key.disabled = true; });
  for (const meter of ["mine", "theirs"]) document.getElementById(meter).value = 0;
}

dial.onclick = async () => {
  if (call) {
    call.hangUp();
    return;
  }
  dial.disabled = true;
  talk.replaceChildren();
  state.textContent = "Connecting …";
  try {
    call = new BrowserCall(await post("/console/phone/calls", { agent: document.getElementById("agent").value }));
    const link = document.getElementById("link");
    link.querySelector("a").href = `/console/calls/${call.sid}`;
    await call.start(dial.dataset.worklet);
    link.hidden = false;
    state.textContent = "Connected";
    dial.textContent = "Hang up";
    dial.className = "bad dial";
    document.querySelectorAll("[data-key]").forEach((key) => { key.disabled = false; });
  } catch (error) {
    if (call) call.end(`No call: ${error.message}`);
    else over(`No call: ${error.message}`);
  } finally {
    dial.disabled = false;
  }
};

document.querySelectorAll("[data-key]").forEach((key) => {
  key.onclick = () => call && call.press(key.dataset.key);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (call && !typing && !event.ctrlKey && !event.metaKey && "0123456789*#".includes(event.key)) call.press(event.key);
});

follow((picture) => { if (call) call.show(picture); }, () => {});
setInterval(() => {
  if (call) document.getElementById("lasts").textContent = lasts((Date.now() - call.began) / 1000);
}, 500);
