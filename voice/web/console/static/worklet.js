"use strict";
// Sound between the browser's rate and the telephone's: G.711 mu-law at 8000 samples a second, frames of 160.

const RATE = 8000;
const FRAME = 160;

function encode(sample) {
  let value = Math.max(-32635, Math.min(32635, Math.round(sample * 32768)));
  const sign = value < 0 ? 0x80 : 0;
  value = Math.abs(value) + 132;
  let exponent = 7;
  for (let mask = 0x4000; exponent > 0 && !(value & mask); mask >>= 1) exponent -= 1;
  return ~(sign | (exponent << 4) | ((value >> (exponent + 3)) & 0x0f)) & 0xff;
}

const DECODED = Float32Array.from({ length: 256 }, (_, byte) => {
  const code = ~byte & 0xff;
  const value = ((((code & 0x0f) << 3) + 132) << ((code >> 4) & 7)) - 132;
  return (code & 0x80 ? -value : value) / 32768;
});

// From one rate to another, with what is above the telephone's band filtered out: a sinc of 12 zeros under a Hann window.
class Resampler {
  constructor(from, to) {
    this.step = from / to;
    this.cutoff = Math.min(1, to / from) * 0.92;
    this.reach = Math.ceil(12 / this.cutoff);
    this.held = new Float32Array(2 * this.reach);
    this.place = this.reach;
  }

  run(samples) {
    const all = new Float32Array(this.held.length + samples.length);
    all.set(this.held);
    all.set(samples, this.held.length);
    const out = [];
    for (; this.place + this.reach < all.length; this.place += this.step) {
      const first = Math.ceil(this.place - this.reach);
      let sum = 0;
      for (let index = Math.max(0, first); index <= this.place + this.reach; index += 1) {
        const x = (index - this.place) * this.cutoff;
        const sinc = Math.abs(x) < 1e-6 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
        const window = 0.5 + 0.5 * Math.cos((Math.PI * (index - this.place)) / this.reach);
        sum += all[index] * sinc * window * this.cutoff;
      }
      out.push(sum);
    }
    const done = Math.max(0, Math.floor(this.place - this.reach));
    this.held = all.slice(done);
    this.place -= done;
    return out;
  }
}

function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length ? Math.sqrt(sum / samples.length) : 0;
}

class Ear extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE);
    this.waiting = [];
  }

  process(inputs) {
    const input = inputs[0][0];
    // Without a microphone there is silence, but there is sound 50 times a second.
    this.waiting.push(...this.resampler.run(input || new Float32Array(128)));
    while (this.waiting.length >= FRAME) {
      const frame = this.waiting.splice(0, FRAME);
      this.port.postMessage({ mulaw: Uint8Array.from(frame, encode), level: loudness(frame) });
    }
    return true;
  }
}

class Mouth extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = []; // pieces of sound at the browser's rate, and names of marks behind them
    this.resampler = new Resampler(RATE, sampleRate);
    this.offset = 0;
    this.blocks = 0;
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(message) {
    if (message.mulaw) {
      const samples = Float32Array.from(message.mulaw, (byte) => DECODED[byte]);
      this.queue.push(Float32Array.from(this.resampler.run(samples)));
    } else if (message.mark !== undefined) {
      this.queue.push(message.mark);
    } else if (message.clear) {
      for (const item of this.queue) if (typeof item === "string") this.port.postMessage({ mark: item });
      this.queue = [];
      this.offset = 0;
    }
  }

  process(inputs, outputs) {
    const output = outputs[0][0];
    let filled = 0;
    while (this.queue.length && filled < output.length) {
      const item = this.queue[0];
      if (typeof item === "string") {
        this.queue.shift();
        this.port.postMessage({ mark: item });
        continue;
      }
      const part = item.subarray(this.offset, this.offset + output.length - filled);
      output.set(part, filled);
      filled += part.length;
      this.offset += part.length;
      if (this.offset >= item.length) {
        this.queue.shift();
        this.offset = 0;
      }
    }
    while (typeof this.queue[0] === "string") this.port.postMessage({ mark: this.queue.shift() });
    this.blocks += 1;
    if (this.blocks % 16 === 0) this.port.postMessage({ level: loudness(output), sounds: filled > 0 });
    return true;
  }
}

registerProcessor("ear", Ear);
registerProcessor("mouth", Mouth);
