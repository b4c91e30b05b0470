// A target in JavaScript: schedule, marginal, conversions, loss and sampling steps. Node.js 18 or later, no packages.
//
//     python -m pytest --pyargs refdiff_validation --refdiff-target-exec 'node target.js'
//
// Replace the first part by calls of your library, and keep the second, which speaks the protocol (spec/protocol.md).
// An array is {dtype, shape, data}; data is a Float32Array, or an array of integers for the times of a chain.
"use strict";
const fs = require("fs");

// A call that the library does not serve throws Unsupported, with the reason.
class Unsupported extends Error {}

// ------------------------------------------------------------------------------------------ The library and its claim.

const claim = {
  name: "javascript",
  version: "1.0",
  dtype: "float32",
  processes: ["Linear", "Cosine", "Chain"],
  capabilities: ["schedule", "perturb", "convert", "loss", "step"],
  weights: ["uniform", "inverse_snr", "min_snr", "likelihood", "snr", "snr_plus_one", "MinSNR"],
  contract: 2,
  steps: [
    { kind: "em" },
    { kind: "ode" },
    { kind: "ddpm" },
    { kind: "ddpm", prediction: "v", variance: "beta" },
    { kind: "ddim", prediction: "x_0" },
    { kind: "ddim", eta: 0.5 },
  ],
};

// Of each kind of process: log alpha_bar, 1 - alpha_bar, and the rate beta, which a chain does not have.
const schedules = {
  Linear: ({ beta_min, beta_max }) => {
    const log = (t) => -t * (beta_min + 0.5 * (beta_max - beta_min) * t);
    return { log, rest: (t) => -Math.expm1(log(t)), beta: (t) => beta_min + (beta_max - beta_min) * t };
  },
  Cosine: ({ s }) => {
    const half = Math.PI / 2 / (1 + s);
    const start = Math.cos(half * s) ** 2;
    const bar = (t) => Math.sin(half * (1 - t)) ** 2 / start;
    const small = (t) => (Math.sin(half * t) * Math.sin(half * (2 * s + t))) / start; // 1 - bar, where bar is near 1
    const rest = (t) => (bar(t) < 0.5 ? 1 - bar(t) : small(t));
    const log = (t) => (bar(t) < 0.5 ? Math.log(bar(t)) : Math.log1p(-small(t)));
    return { log, rest, beta: (t) => (2 * half * Math.sin(half * (t + s))) / Math.sin(half * (1 - t)) };
  },
  Chain: ({ betas }) => {
    const logs = [0];
    for (const beta of betas) logs.push(logs[logs.length - 1] + Math.log1p(-beta));
    return { log: (k) => logs[k], rest: (k) => -Math.expm1(logs[k]) };
  },
};

// The weight on the squared error of a prediction; `bar` is alpha_bar, `rest` is 1 - alpha_bar.
const weights = {
  uniform: () => 1,
  inverse_snr: ({ bar, rest }, y) => ({ eps: rest / bar, x_0: 1, v: rest, score: (rest * rest) / bar })[y],
  min_snr: ({ bar, rest }, y, gamma = 5) => {
    const onEps = Math.min(1, (gamma * rest) / bar);
    return { eps: onEps, x_0: Math.min(bar / rest, gamma), v: Math.min(bar, gamma * rest), score: rest * onEps }[y];
  },
  likelihood: ({ bar, rest, beta }, y) => {
    if (beta === undefined) throw new Unsupported("a chain has no rate");
    return { eps: beta / rest, x_0: (beta * bar) / (rest * rest), v: (beta * bar) / rest, score: beta }[y];
  },
  snr: ({ bar, rest }, y) => ({ eps: 1, x_0: bar / rest, v: bar, score: rest })[y],
  snr_plus_one: ({ bar, rest }, y) => ({ eps: 1 / bar, x_0: 1 / rest, v: 1, score: rest / bar })[y],
};

// x_0 and eps that follow from a prediction y of the kind `source`.
function parts(y, x_t, { alpha, sigma }, source) {
  if (source === "v") return [alpha * x_t - sigma * y, sigma * x_t + alpha * y];
  if (source === "x_0") return [y, (x_t - alpha * y) / sigma];
  const eps = source === "score" ? -sigma * y : y;
  return [(x_t - sigma * eps) / alpha, eps];
}

function predicted(x_0, eps, { alpha, sigma }, to) {
  return { x_0, eps, v: alpha * eps - sigma * x_0, score: -eps / sigma }[to];
}

// One sampling step from t to s of one number, given the noise z.
function stepped(rule, x_t, value, z, t, s) {
  const [x_0, eps] = parts(value, x_t, t, rule.prediction);
  if (rule.kind === "em" || rule.kind === "ode") {
    if (t.beta === undefined) throw new Unsupported("a chain has no rate");
    const h = t.time - s.time;
    if (rule.kind === "ode") return x_t + 0.5 * t.beta * h * (x_t - eps / t.sigma);
    return x_t + h * (0.5 * t.beta * x_t - (t.beta * eps) / t.sigma) + Math.sqrt(t.beta * h) * z;
  }
  const added = -Math.expm1(t.log - s.log); // variance of x_t given x_s
  const variance = (s.rest * added) / t.rest;
  if (rule.kind === "ddpm") {
    const spread = rule.variance === "beta" && s.rest > 0 ? added : variance;
    const [onData, onNoised] = [(s.alpha * added) / t.rest, ((t.alpha / s.alpha) * s.rest) / t.rest];
    return onData * x_0 + onNoised * x_t + Math.sqrt(spread) * z;
  }
  const noise = rule.eta * Math.sqrt(variance);
  return s.alpha * x_0 + Math.sqrt(Math.max(s.rest - noise * noise, 0)) * eps + noise * z;
}

// What the suite calls, by name; arguments come in the order of the protocol.
function build(wanted) {
  const { log, rest, beta } = schedules[wanted.kind](wanted);
  const at = (time) => {
    const [logBar, variance] = [log(time), rest(time)];
    return {
      time,
      log: logBar,
      rest: variance,
      beta: beta && beta(time),
      bar: Math.exp(logBar),
      alpha: Math.exp(logBar / 2),
      sigma: Math.sqrt(variance),
    };
  };
  const each = (t, f) => ({ dtype: "float32", shape: t.shape, data: Float32Array.from(t.data, (x) => f(at(x))) });
  // f(scales of the row, index) for each number of an array shaped as `like`, whose rows belong to the times t.
  const over = (like, t, f) => {
    const data = new Float32Array(like.data.length);
    const width = data.length / t.data.length;
    t.data.forEach((time, row) => {
      const q = at(time);
      for (let i = row * width; i < (row + 1) * width; i++) data[i] = f(q, i, row);
    });
    return { dtype: "float32", shape: like.shape, data };
  };
  const methods = {
    coefficients: (t) => ({
      log_alpha_bar: each(t, (q) => q.log),
      alpha_bar: each(t, (q) => q.bar),
      alpha: each(t, (q) => q.alpha),
      sigma: each(t, (q) => q.sigma),
    }),
    perturb: (x_0, eps, t) => over(x_0, t, (q, i) => q.alpha * x_0.data[i] + q.sigma * eps.data[i]),
    convert: (value, x_t, t, source, to) =>
      over(value, t, (q, i) => predicted(...parts(value.data[i], x_t.data[i], q, source), q, to)),
    loss: (denoiser, prediction, x_0, eps, t, weight) => {
      const [name, gamma] = weight.kind === "MinSNR" ? ["min_snr", weight.gamma] : [weight];
      const factors = Array.from(t.data, (time) => weights[name](at(time), prediction, gamma));
      const answer = denoiser(methods.perturb(x_0, eps, t), t);
      const sums = new Array(factors.length).fill(0);
      over(x_0, t, (q, i, row) => {
        sums[row] += (answer.data[i] - predicted(x_0.data[i], eps.data[i], q, prediction)) ** 2;
      });
      return { dtype: "float32", shape: t.shape, data: Float32Array.from(sums, (sum, row) => factors[row] * sum) };
    },
    step: (x_t, value, t, s, noise, rule) => {
      const before = Array.from(s.data, at);
      return over(x_t, t, (q, i, row) => stepped(rule, x_t.data[i], value.data[i], noise.data[i], q, before[row]));
    },
  };
  return methods;
}

// ------------------------------------------------------------------------------------------------------- The protocol.

function encode(value) {
  if (!ArrayBuffer.isView(value.data) && !Array.isArray(value.data))
    return { fields: Object.fromEntries(Object.entries(value).map(([name, item]) => [name, encode(item)])) };
  const { dtype, shape } = value;
  const { buffer } = dtype === "int64" ? BigInt64Array.from(value.data, BigInt) : value.data;
  return { dtype, shape, data: Buffer.from(buffer).toString("base64") };
}

function decode(value) {
  if (value === null || typeof value !== "object") return value;
  if ("handle" in value) return (x_t, t) => ask(value.handle, [x_t, t]);
  if ("step" in value) return value.step;
  if (!("data" in value)) return value;
  const raw = Uint8Array.from(Buffer.from(value.data, "base64")).buffer;
  const data = value.dtype === "int64" ? Array.from(new BigInt64Array(raw), Number) : new Float32Array(raw);
  return { dtype: value.dtype, shape: value.shape, data };
}

function send(message) {
  const line = Buffer.from(JSON.stringify(message) + "\n");
  for (let sent = 0; sent < line.length; ) sent += fs.writeSync(1, line, sent);
}

const chunk = Buffer.alloc(1 << 20);
let waiting = Buffer.alloc(0);

// The next message, or undefined at the end of standard input.
function receive() {
  let end;
  while ((end = waiting.indexOf(10)) < 0) {
    const size = fs.readSync(0, chunk);
    if (size === 0) return undefined;
    waiting = Buffer.concat([waiting, chunk.subarray(0, size)]);
  }
  const line = waiting.toString("utf8", 0, end);
  waiting = waiting.subarray(end + 1);
  return JSON.parse(line);
}

// Calls the suite's denoiser, while a call of the suite's is open.
function ask(handle, inputs) {
  send({ id: 0, do: "call", object: handle, method: "denoiser", arguments: inputs.map(encode) });
  const answer = receive();
  if ("error" in answer) throw new Error(answer.error.message);
  return decode(answer.result);
}

const objects = new Map();
let handles = 0;

function result(request) {
  if (request.do === "build") {
    const built = build(request.process);
    objects.set(++handles, built);
    return { handle: handles, methods: Object.keys(built) };
  }
  const method = objects.get(request.object)?.[request.method];
  if (!method) throw new Error("no such method");
  return encode(method(...request.arguments.map(decode)));
}

function answer(request) {
  try {
    return { id: request.id, result: result(request) };
  } catch (error) {
    if (error instanceof Unsupported) return { id: request.id, unsupported: error.message };
    return { id: request.id, error: { message: `${request.method || request.do} raised ${error}` } };
  }
}

send({ protocol: 1, claim });
for (let request; (request = receive()); ) {
  if (request.do === "release") objects.delete(request.object);
  else send(answer(request));
}
