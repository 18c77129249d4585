// HTTP/2 written by hand: frames as bytes over TLS, right or wrong as the test wants them.
import fs from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import tls from "node:tls";

export const TYPE = { DATA: 0, HEADERS: 1, PRIORITY: 2, RST_STREAM: 3, SETTINGS: 4, PUSH_PROMISE: 5, PING: 6, GOAWAY: 7,
  WINDOW_UPDATE: 8, CONTINUATION: 9 };
export const FLAG = { ACK: 1, END_STREAM: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 };
export const ERROR = { NO_ERROR: 0, PROTOCOL_ERROR: 1, INTERNAL_ERROR: 2, FLOW_CONTROL_ERROR: 3, STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6, REFUSED_STREAM: 7, CANCEL: 8, COMPRESSION_ERROR: 9, ENHANCE_YOUR_CALM: 11 };
export const SETTING = { HEADER_TABLE_SIZE: 1, ENABLE_PUSH: 2, MAX_CONCURRENT_STREAMS: 3, INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5 };
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const u32 = (n) => Buffer.from([n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]);

/** One frame; `length` lies about the payload's. */
export function frame(type, flags, stream, payload = Buffer.alloc(0), length = payload.length) {
  return Buffer.concat([Buffer.from([length >>> 16, (length >>> 8) & 255, length & 255, type, flags]), u32(stream), payload]);
}

export const settings = (pairs = []) => frame(TYPE.SETTINGS, 0, 0,
  Buffer.concat(pairs.map(([id, value]) => Buffer.concat([Buffer.from([id >>> 8, id & 255]), u32(value)]))));
export const windowUpdate = (stream, n) => frame(TYPE.WINDOW_UPDATE, 0, stream, u32(n));
export const rst = (stream, code = ERROR.CANCEL) => frame(TYPE.RST_STREAM, 0, stream, u32(code));
export const ping = (text = "12345678", flags = 0) => frame(TYPE.PING, flags, 0, Buffer.from(text));
export const priority = (stream, on, weight = 15) => frame(TYPE.PRIORITY, 0, stream, Buffer.concat([u32(on), Buffer.from([weight])]));
export const data = (stream, bytes, end = false) => frame(TYPE.DATA, end ? FLAG.END_STREAM : 0, stream, Buffer.from(bytes));

/** A number of HPACK behind `bits` bits of prefix, whose upper bits are `first`. */
export function number(first, bits, n) {
  const most = 2 ** bits - 1;
  if (n < most) return Buffer.from([first | n]);
  const out = [first | most];
  for (n -= most; n >= 128; n = Math.floor(n / 128)) out.push((n % 128) | 128);
  return Buffer.from([...out, n]);
}
const text = (s) => {
  const bytes = Buffer.isBuffer(s) ? s : Buffer.from(s, "latin1");
  return Buffer.concat([number(0, 7, bytes.length), bytes]);
};
/** A field in full, not put into the table (or put there: `indexed`). */
export const field = (name, value, indexed = false) => Buffer.concat([Buffer.from([indexed ? 0x40 : 0]), text(name), text(value)]);
export const block = (fields) => Buffer.concat(fields.map(([name, value]) => field(name, value)));

/** The fields that every request has. */
export const request = (method, path, more = []) => [[":method", method], [":scheme", "https"], [":authority", "localhost"],
  [":path", path], ...more];
export function headers(stream, fields, { end = true, flags = FLAG.END_HEADERS } = {}) {
  return frame(TYPE.HEADERS, flags | (end ? FLAG.END_STREAM : 0), stream, Buffer.isBuffer(fields) ? fields : block(fields));
}

/** Cuts what comes in pieces into frames; `skip` bytes before the first one. */
class Cutter {
  constructor(skip = 0) {
    Object.assign(this, { skip, rest: Buffer.alloc(0) });
  }

  take(bytes) {
    const found = [];
    this.rest = Buffer.concat([this.rest, bytes]);
    const skipped = Math.min(this.skip, this.rest.length);
    this.skip -= skipped;
    this.rest = this.rest.subarray(skipped);
    while (this.rest.length >= 9 && this.rest.length >= 9 + this.rest.readUIntBE(0, 3)) {
      const size = 9 + this.rest.readUIntBE(0, 3);
      found.push({ type: this.rest[3], flags: this.rest[4], stream: this.rest.readUInt32BE(5) & 0x7fffffff,
        payload: Buffer.from(this.rest.subarray(9, size)) });
      this.rest = this.rest.subarray(size);
    }
    return found;
  }
}

/** A connection that says what it is told to, and keeps what comes. */
export class Raw {
  /** `hello` false: not even the preface; `reads` false: nothing is read after the handshake. */
  static async connect({ port, ca }, { hello = true, reads = true, pairs = [] } = {}) {
    const raw = new Raw();
    raw.frames = [];
    raw.isClosed = false;
    raw.cutter = new Cutter();
    raw.socket = tls.connect({ host: "127.0.0.1", port, ca, ALPNProtocols: ["h2"], servername: "localhost" });
    await new Promise((resolve, reject) => {
      raw.socket.once("secureConnect", resolve);
      raw.socket.once("error", reject);
    });
    raw.waiting = [];
    raw.socket.on("error", () => {});
    raw.socket.on("close", () => raw.#end());
    raw.socket.on("end", () => raw.#end());
    raw.socket.on("drain", () => raw.#wake());
    if (reads) raw.socket.on("data", (bytes) => raw.#take(bytes));
    if (hello) raw.socket.write(Buffer.concat([PREFACE, settings(pairs)]));
    return raw;
  }

  /** Sends; waits while the kernel takes no more. Gives false when the other side has gone. */
  async send(...frames) {
    if (this.isClosed) return false;
    if (!this.socket.write(Buffer.concat(frames))) await this.#until(() => !this.socket.writableNeedDrain, 3000);
    return !this.isClosed;
  }

  /** The first frame for which `condition` holds, or undefined when the connection ends without one. */
  async get(condition, limitMs = 5000) {
    await this.#until(() => this.frames.some(condition), limitMs);
    return this.frames.find(condition);
  }

  /** The answer's HEADERS on `stream`. */
  answer(stream) {
    return this.get((f) => f.type === TYPE.HEADERS && f.stream === stream);
  }

  /** Whether the other side hung up within the limit. */
  async ended(limitMs = 5000) {
    await this.#until(() => false, limitMs);
    return this.isClosed;
  }

  /** The error code of the server's GOAWAY; undefined: it hung up without one, or not at all. */
  get goaway() {
    return this.frames.find((f) => f.type === TYPE.GOAWAY)?.payload.readUInt32BE(4);
  }

  close() {
    this.socket.destroy();
  }

  /** Resolves when `condition` holds, the connection has ended, or the time is up. */
  async #until(condition, limitMs) {
    const end = Date.now() + limitMs;
    while (!this.isClosed && !condition() && Date.now() < end) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, end - Date.now());
        this.waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  #wake() {
    for (const go of this.waiting.splice(0)) go();
  }

  #end() {
    this.isClosed = true;
    this.#wake();
  }

  #take(bytes) {
    this.frames.push(...this.cutter.take(bytes));
    this.#wake();
  }
}

let taps = 0;

/** Stands between Node's client and the server, and keeps of both sides what says which streams were begun or ended. The
 * client speaks to it in the clear over a socket of its own: Node 18 cannot stand a stream of JavaScript's there. */
export class Tap {
  /** A session of Node's with its `tap`. A failed request's error says `isUnsent` where a GOAWAY had come before the
   * client wrote anything of it: Node (nghttp2) calls that REFUSED_STREAM, though it never left the process. */
  static connect(url, { ca }) {
    const { hostname: host, port } = new URL(url);
    const tap = new Tap();
    const at = path.join(os.tmpdir(), `till-tap-${process.pid}-${++taps}.sock`);
    const server = net.createServer((client) => {
      server.close(); // one is enough
      tap.#join(client, tls.connect({ host, port, ca, ALPNProtocols: ["h2"], servername: "localhost" }));
    }).listen(at);
    const session = http2.connect(url.replace("https:", "http:"), { createConnection: () => net.connect(at) });
    const begin = session.request.bind(session);
    session.tap = tap;
    session.request = (...args) => {
      const stream = begin(...args);
      return stream.on("error", (error) => { // before any listener of who asks
        error.isUnsent = tap.goaways.length > 0 && !tap.begun.has(stream.id);
      });
    };
    return session;
  }

  /** Streams whose HEADERS were written; [{stream, code}] of RST_STREAM; the last streams that GOAWAYs named. */
  begun = new Set();
  resets = [];
  goaways = [];

  /** The streams that the server reset, or that it refused by a GOAWAY that names an earlier one as the last. */
  get refused() {
    const last = Math.min(...this.goaways);
    return [...this.resets, ...[...this.begun].filter((stream) => stream > last).map((stream) => ({ stream, last }))];
  }

  #join(client, server) {
    const sent = new Cutter(PREFACE.length), got = new Cutter();
    pass(client, server, (bytes) => sent.take(bytes).filter((f) => f.type === TYPE.HEADERS).forEach((f) => this.begun.add(f.stream)));
    pass(server, client, (bytes) => got.take(bytes).forEach((f) => this.#heard(f)));
  }

  #heard({ type, stream, payload }) {
    if (type === TYPE.RST_STREAM) this.resets.push({ stream, code: payload.readUInt32BE(0) });
    if (type === TYPE.GOAWAY) this.goaways.push(payload.readUInt32BE(0) & 0x7fffffff);
  }
}

/** What comes from one goes to the other, seen by `note`; so does the end. */
function pass(from, to, note) {
  from.on("data", (bytes) => {
    note(bytes);
    if (!to.write(bytes)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => to.end());
  from.on("error", () => to.destroy());
  from.on("close", () => to.destroy());
}

/** What `Raw.connect` needs to know of a shop, in a form that goes to another thread. */
export const placeOf = (shop) => ({ port: shop.port, ca: fs.readFileSync(shop.dev.ca_file, "utf8") });
