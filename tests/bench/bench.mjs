// make bench: every benchmark in turn, each figure beside its baseline of the same minutes, on this machine.
//
//   node tests/bench/bench.mjs [NAMES] [--rounds N] [--seconds N] [--json FILE] [--list]
//
// Asserts nothing: a goal that is missed is shown as missed, and the exit code stays 0. docs/performance.md says how to
// read what is printed.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { compare, spread } from "./lib/compare.mjs";
import { BUILD, ROOT } from "./lib/ground.mjs";

process.env.MOONTILL = path.join(BUILD, "moontill");
const { Shop, tempDir, SLICE } = await import("../flow/support/shop.mjs");

const NAMES = ["handler", "pages", "points", "redis", "price", "box", "memory", "clients", "streams", "journey", "orders", "hot", "expiry",
  "reload", "generations", "import", "webhooks", "payments"];

function options(words) {
  const out = { names: [], rounds: 5, seconds: 2, json: undefined };
  for (let i = 0; i < words.length; i++) {
    const [, option, value] = words[i].match(/^--(\w+)(?:=(.*))?$/) ?? [];
    if (option === "list") out.list = true;
    else if (["rounds", "seconds", "json"].includes(option)) out[option] = value ?? words[++i];
    else if (NAMES.includes(words[i])) out.names.push(words[i]);
    else throw new Error(`${words[i]}: the names are ${NAMES.join(" ")}, the options --rounds N --seconds N --json FILE`);
  }
  for (const name of ["rounds", "seconds"]) {
    out[name] = Number(out[name]);
    if (!(out[name] >= 1)) throw new Error(`--${name} wants a number from 1 on`);
  }
  return out;
}

const git = (...words) => execFileSync("git", words, { cwd: ROOT, encoding: "utf8" }).trim();

function about(given) {
  const cpus = os.cpus();
  let commit = "unknown", changed = false;
  try {
    commit = git("rev-parse", "HEAD");
    changed = git("status", "--porcelain") !== "";
  } catch {} // not a checkout
  return { date: new Date().toISOString(), commit, changed, cores: cpus.length, cpu: cpus[0].model, kernel: os.release(),
    memory_mb: Math.round(os.totalmem() / 1048576), load: os.loadavg()[0], rounds: given.rounds, seconds: given.seconds };
}

const short = (value) => value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
const range = ({ median, min, max }) => `${short(median)} [${short(min)}..${short(max)}]`;

/** Is the goal met? It is { of, most } or { of, least }, `of` being "rate" or "cpu" of a comparison. */
function verdict(goal, value) {
  if (!goal) return {};
  return { goal, met: goal.most !== undefined ? value <= goal.most : value >= goal.least };
}

function sayGoal({ goal, met }, unit = "") {
  if (!goal) return "";
  const of = { cpu: "CPU ", rate: "rate " }[goal.of] ?? "";
  return `   goal: ${of}${goal.most !== undefined ? `at most ${goal.most}` : `at least ${goal.least}`}${unit}: ${met ? "met" : "MISSED"}`;
}

/** What a benchmark is given to work with. */
class Bench {
  constructor(given) {
    Object.assign(this, { rounds: given.rounds, seconds: given.seconds, results: [], dir: tempDir("bench") });
    process.on("exit", this.#onExit);
  }

  #onExit = () => this.running?.process.kill("SIGTERM"); // also where something was thrown that nobody caught

  /** The shop that benchmarks share, with the demo's catalogue in it; made when it is first asked for. */
  async shop() {
    this.running ??= await this.startShop();
    const { dir, dev, ca, process: { pid } } = this.running;
    return { ...dev, dir, ca, pid };
  }

  /** Another one, of the benchmark's own. */
  async startShop(args = ["--no-demo"]) {
    const shop = await Shop.start({ args });
    const got = await shop.cli("import", "products", SLICE);
    if (got.code !== 0) throw new Error(got.stderr);
    return shop;
  }

  async compare(title, { a, b, goal, ...more }) {
    const got = await compare({ rounds: this.rounds, a, b, ...more });
    const result = { bench: this.name, title, ...got, ...verdict(goal, goal && got[goal.of].median) };
    this.results.push(result);
    for (const side of [got.a, got.b]) {
      console.log(`  ${title}: ${side.name}`.padEnd(62), `${short(side.rate.median)}/s`.padStart(10),
        `${short(side.cpu.median)} us CPU each`.padStart(22));
    }
    console.log("    ratio, median [least..most]:".padEnd(40), `rate ${range(got.rate)}   CPU ${range(got.cpu)}${sayGoal(result)}`);
    if (got.failed) console.log(`    ${got.failed} FAILED`);
    return result;
  }

  figure(title, value, unit, goal) {
    const result = { bench: this.name, title, value, unit, ...verdict(goal, value) };
    this.results.push(result);
    console.log(`  ${title}`.padEnd(62), `${short(value)} ${unit}`.padStart(14), sayGoal(result, ` ${unit}`));
  }

  /** Several rounds of one figure, where there is no baseline. */
  spread(title, values, unit, goal) {
    const got = spread(values);
    const result = { bench: this.name, title, ...got, unit, ...verdict(goal, got.median) };
    this.results.push(result);
    console.log(`  ${title}`.padEnd(52), `${range(got)} ${unit}`.padStart(24), sayGoal(result, ` ${unit}`));
  }

  async end() {
    await this.running?.stop();
    this.running = undefined;
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

function keep(given, machine, results) {
  const stamp = `${machine.date.slice(0, 16).replace(/[-:]/g, "").replace("T", "-")}-${machine.commit.slice(0, 8)}`;
  const file = given.json ?? path.join(ROOT, "build/bench", `${stamp}.json`);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const rounded = (key, value) => (typeof value === "number" ? Number(value.toPrecision(4)) : value);
  fs.writeFileSync(file, JSON.stringify({ machine, results: JSON.parse(JSON.stringify(results, rounded)) }, null, 1) + "\n");
  console.log(`kept in ${path.relative(process.cwd(), file)}`);
}

async function main(given) {
  const machine = about(given), bench = new Bench(given);
  console.log(`${machine.cores} cores, ${machine.cpu}, load ${machine.load.toFixed(1)}, commit ${machine.commit.slice(0, 10)}` +
    `${machine.changed ? " and changes" : ""}; ${given.rounds} rounds of ${given.seconds} s a side\n`);
  process.on("SIGINT", () => bench.end().then(() => process.exit(130)));
  try {
    for (const name of given.names.length ? given.names : NAMES) {
      bench.name = name;
      console.log(name);
      const module = await import(`./${name}.mjs`);
      await module.default(bench);
      console.log("");
    }
  } finally {
    if (bench.results.length) keep(given, machine, bench.results);
    await bench.end();
  }
}

const given = options(process.argv.slice(2));
if (given.list) console.log(NAMES.join("\n"));
else await main(given);
