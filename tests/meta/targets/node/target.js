// A target in JavaScript: schedules, marginals and conversions, in double precision and rounded once to float32.
// It speaks the protocol of spec/12-conformance.md. usage: node target.js [FAULT], where FAULT names what is wrong.
"use strict";
const fs = require("fs");

const fault = process.argv[2] || "";

// log alpha_bar and 1 - alpha_bar of each kind of process, as functions of its time.
const schedules = {
  Linear: ({ beta_min, beta_max }) => (t) => {
    const log = -t * (beta_min + 0.5 * (beta_max - beta_min) * t);
    return [log, -Math.expm1(log)];
  },
  Cosine: ({ s }) => (t) => {
    const half = Math.PI / 2 / (1 + s);
    const start = Math.cos(half * s) ** 2;
    const rest = Math.min(1, (Math.sin(half * t) * Math.sin(half * (2 * s + t))) / start);
    return [rest < 0.5 ? Math.log1p(-rest) : Math.log(Math.sin(half * (1 - t)) ** 2 / start), rest];
  },
  Chain: ({ betas }) => {
    let sum = 0;
    const logs = betas.map((beta) => (sum += Math.log1p(-beta)));
    return (k) => [logs[k - 1], -Math.expm1(logs[k - 1])];
  },
};

function build(tagged) {
  const at = schedules[tagged.kind](tagged);
  const scales = (t) => {
    const [log, rest] = at(t);
    return [Math.exp(log / 2), fault === "variance" ? rest : Math.sqrt(rest)];
  };
  // f(alpha, sigma, i) for each number i of an array shaped as `like`, whose first axis is that of the times.
  const over = (like, times, f) => {
    const result = new Float32Array(like.data.length);
    const width = result.length / times.data.length;
    times.data.forEach((t, row) => {
      const [alpha, sigma] = scales(t);
      for (let i = row * width; i < (row + 1) * width; i++) result[i] = f(alpha, sigma, i);
    });
    return { shape: like.shape, data: result };
  };
  const each = (t, f) => ({ shape: t.shape, data: Float32Array.from(t.data, f) });
  return {
    coefficients: (t) => ({
      log_alpha_bar: each(t, (x) => at(x)[0]),
      alpha_bar: each(t, (x) => Math.exp(at(x)[0])),
      alpha: each(t, (x) => scales(x)[0]),
      sigma: each(t, (x) => scales(x)[1]),
    }),
    perturb: (x_0, eps, t) => over(x_0, t, (a, s, i) => a * x_0.data[i] + s * eps.data[i]),
    convert: (value, x_t, t, source, to) =>
      over(value, t, (a, s, i) => {
        const [y, x] = [value.data[i], x_t.data[i]];
        let [x_0, eps] = [y, y];
        if (source === "v") [x_0, eps] = [a * x - s * y, s * x + a * y];
        if (source === "x_0") eps = (x - a * x_0) / s;
        if (source === "score") eps = -s * y;
        if (source === "eps" || source === "score") x_0 = (x - s * eps) / a;
        return { x_0, eps, v: a * eps - s * x_0, score: (fault === "sign" ? eps : -eps) / s }[to];
      }),
  };
}

// Arrays: little-endian bytes in base64, of float32 or, for the times of a chain, int64.
function decode(value) {
  if (value === null || typeof value !== "object") return value;
  const raw = Uint8Array.from(Buffer.from(value.data, "base64")).buffer;
  const data = value.dtype === "int64" ? Array.from(new BigInt64Array(raw), Number) : new Float32Array(raw);
  return { shape: value.shape, data };
}
function encode(value) {
  if (!(value.data instanceof Float32Array))
    return { fields: Object.fromEntries(Object.entries(value).map(([name, item]) => [name, encode(item)])) };
  const { buffer, byteOffset, byteLength } = value.data;
  return { dtype: "float32", shape: value.shape, data: Buffer.from(buffer, byteOffset, byteLength).toString("base64") };
}

const objects = new Map();
function answer(request) {
  if (request.do === "build") {
    objects.set(request.id, build(request.process));
    return { handle: request.id, methods: ["coefficients", "perturb", "convert"] };
  }
  return encode(objects.get(request.object)[request.method](...request.arguments.map(decode)));
}

function send(message) {
  const line = Buffer.from(JSON.stringify(message) + "\n");
  for (let sent = 0; sent < line.length; ) sent += fs.writeSync(1, line, sent);
}

function receive(line) {
  const request = JSON.parse(line);
  if (request.do === "release") return void objects.delete(request.object);
  try {
    send({ id: request.id, result: answer(request) });
  } catch (error) {
    send({ id: request.id, error: { message: `${request.method || "build"} raised ${error}` } });
  }
}

send({
  protocol: 1,
  claim: {
    name: "javascript",
    version: process.version,
    dtype: "float32",
    processes: ["Linear", "Cosine", "Chain"],
    capabilities: ["schedule", "perturb", "convert"],
  },
});
const chunk = Buffer.alloc(1 << 20);
let rest = Buffer.alloc(0);
for (let size; (size = fs.readSync(0, chunk)) > 0; ) {
  rest = Buffer.concat([rest, chunk.subarray(0, size)]);
  for (let end; (end = rest.indexOf(10)) >= 0; rest = rest.subarray(end + 1)) receive(rest.toString("utf8", 0, end));
}
