// The test vectors of the specification, read without Python: do your functions obey them?
//
//     node vectors.js [FOLDER]        FOLDER has schedules.json, marginal.json and parameterizations.json (../vectors)
//
// Replace `processes` and `calls` by calls of your library. Exit status 1 if a number is beyond its MUST tolerance.
"use strict";
const fs = require("fs");
const path = require("path");

// log alpha_bar and 1 - alpha_bar of each kind of process, as functions of its time.
const processes = {
  linear: ({ beta_min, beta_max }) => (t) => {
    const log = -t * (beta_min + 0.5 * (beta_max - beta_min) * t);
    return { log, rest: -Math.expm1(log) };
  },
  cosine: ({ s }) => (t) => {
    const half = Math.PI / 2 / (1 + s);
    const start = Math.cos(half * s) ** 2;
    const bar = Math.sin(half * (1 - t)) ** 2 / start;
    if (bar < 0.5) return { log: Math.log(bar), rest: 1 - bar };
    const rest = (Math.sin(half * t) * Math.sin(half * (2 * s + t))) / start;
    return { log: Math.log1p(-rest), rest };
  },
  chain: ({ betas }) => (k) => {
    const log = betas.slice(0, k).reduce((sum, beta) => sum + Math.log1p(-beta), 0);
    return { log, rest: -Math.expm1(log) };
  },
};

// The calls of the vectors that this script answers, given log alpha_bar, alpha and sigma at the time, and the inputs.
const calls = {
  log_alpha_bar: ({ log }) => log,
  alpha_bar: ({ log }) => Math.exp(log),
  alpha: ({ alpha }) => alpha,
  sigma: ({ sigma }) => sigma,
  log_snr: ({ log, rest }) => log - Math.log(rest),
  perturb: ({ alpha, sigma }, { x_0, eps }) => alpha * x_0 + sigma * eps,
  convert: ({ alpha, sigma }, { value, x_t, source, to }) => {
    let [x_0, eps] = [value, value];
    if (source === "v") [x_0, eps] = [alpha * x_t - sigma * value, sigma * x_t + alpha * value];
    if (source === "score") eps = -sigma * value;
    if (source === "x_0") eps = (x_t - alpha * value) / sigma;
    if (source === "eps" || source === "score") x_0 = (x_t - sigma * eps) / alpha;
    return { x_0, eps, v: alpha * eps - sigma * x_0, score: -eps / sigma }[to];
  },
};

// Floats are written in hex, as 0x1.8p-3; indices are numbers.
function number(written) {
  const found = /^(-?)0x([01])\.([0-9a-f]*)p([+-][0-9]+)$/.exec(written);
  if (!found) return written;
  const [, sign, whole, digits, exponent] = found;
  const size = (Number(whole) + parseInt(digits || "0", 16) / 16 ** digits.length) * 2 ** Number(exponent);
  return sign ? -size : size;
}

const parsed = (x) => (Array.isArray(x) ? x.map(number) : number(x));
const numbers = (given) => Object.fromEntries(Object.entries(given).map(([name, x]) => [name, parsed(x)]));

let [asked, failed] = [0, 0];
for (const file of ["schedules", "marginal", "parameterizations"]) {
  const folder = process.argv[2] || path.join(__dirname, "..", "vectors");
  const content = JSON.parse(fs.readFileSync(path.join(folder, `${file}.json`), "ascii"));
  for (const { id, call, process: name, inputs, output, tolerance } of content.vectors) {
    const bound = tolerance && tolerance.float64 && tolerance.float64.must;
    if (!calls[call] || !bound) continue;
    const [[kind, given]] = Object.entries(content.processes[name]);
    const values = numbers(inputs);
    const q = processes[kind](numbers(given))("t" in values ? values.t : values.k);
    const got = calls[call]({ ...q, alpha: Math.exp(q.log / 2), sigma: Math.sqrt(q.rest) }, values);
    const want = output.mid === "inf" ? Infinity : output.mid === "-inf" ? -Infinity : Number(output.mid);
    asked++;
    if (got === want || Math.abs(got - want) <= Number(bound)) continue;
    failed++;
    console.log(`${id}: expected ${want} within ${bound}, got ${got}`);
  }
}
console.log(`${asked} vectors, ${failed} beyond their tolerance`);
process.exitCode = failed || !asked ? 1 : 0;
