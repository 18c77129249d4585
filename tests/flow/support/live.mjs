// Clients of streams: server-sent events over either protocol, WebSocket by the `ws` of Debian's node-ws, and by hand.
import { createRequire } from "node:module";
import https from "node:https";
import tls from "node:tls";
import { until } from "./shop.mjs";

/** A WebSocket client that is not ours; Debian keeps it where every Node finds it by this path. */
export const WebSocket = createRequire(import.meta.url)("/usr/share/nodejs/ws");

const auth = (shop, key) => (key === null ? {} : { authorization: `Bearer ${key ?? shop.dev.store_key}` });

/** What all streams of the tests have in common: events as {event, id, data}, in order. */
class Stream {
  events = [];
  isOver = false;

  /** The first event that `fits`, whenever it comes. */
  async event(what, fits, limitMs = 20_000) {
    await until(what, () => this.events.some(fits) || this.isOver, limitMs);
    const found = this.events.find(fits);
    if (!found) throw new Error(`the stream ended before: ${what}; it said ${JSON.stringify(this.events)}`);
    return found;
  }

  /** The cart as it was last told. */
  get cart() {
    return this.events.filter((e) => e.event === "cart").pop()?.data.cart;
  }

  over(limitMs = 20_000) {
    return until("the stream ends", () => this.isOver, limitMs);
  }
}

class Sse extends Stream {
  text = "";

  feed(piece) {
    this.text += piece;
    for (let at; (at = this.text.indexOf("\n\n")) !== -1; ) {
      const block = this.text.slice(0, at);
      this.text = this.text.slice(at + 2);
      const event = {};
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
        else if (colon === 0) this.beats = (this.beats ?? 0) + 1;
      }
      if (event.retry) this.retry = Number(event.retry);
      if (event.data) this.events.push({ ...event, data: JSON.parse(event.data) });
    }
  }
}

/** Opens one over HTTP/1.1. A refusal is {status, body}. */
export function sse1(shop, path, { key, headers = {}, agent = false } = {}) {
  return new Promise((resolve, reject) => {
    const request = https.request(shop.dev.url + path, { headers: { ...auth(shop, key), ...headers }, ca: shop.ca, agent,
      ALPNProtocols: ["http/1.1"] }, (answer) => {
      const stream = new Sse();
      stream.status = answer.statusCode;
      stream.headers = answer.headers;
      stream.socket = answer.socket;
      stream.close = () => request.destroy();
      answer.setEncoding("utf8");
      answer.on("data", (piece) => (stream.status === 200 ? stream.feed(piece) : (stream.text += piece)));
      answer.on("error", () => {});
      answer.on("close", () => {
        stream.isOver = true;
        if (stream.status !== 200) stream.body = JSON.parse(stream.text);
        resolve(stream);
      });
      if (stream.status === 200) resolve(stream);
    });
    request.on("error", reject);
    request.end();
  });
}

/** The same over HTTP/2, on `session`. */
export function sse2(shop, path, { key, headers = {}, session } = {}) {
  return new Promise((resolve, reject) => {
    const request = session.request({ ":path": path, ...auth(shop, key), ...headers });
    const stream = new Sse();
    stream.close = () => request.close();
    request.setEncoding("utf8");
    request.on("response", (got) => {
      stream.status = got[":status"];
      stream.headers = got;
      if (stream.status === 200) resolve(stream);
    });
    request.on("data", (piece) => (stream.status === 200 ? stream.feed(piece) : (stream.text += piece)));
    request.on("error", reject);
    request.on("close", () => {
      stream.isOver = true;
      if (stream.status !== 200 && stream.text) stream.body = JSON.parse(stream.text);
      resolve(stream);
    });
  });
}

class Socket extends Stream {}

/** Over WebSocket; `protocols` as a browser gives them. A refusal is {status}. */
export function ws(shop, path, { key, headers = {}, protocols = ["moontill.v1"] } = {}) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(shop.dev.url.replace("https:", "wss:") + path, protocols,
      { headers: { ...auth(shop, key), ...headers }, ca: shop.ca });
    const stream = new Socket();
    stream.socket = socket;
    stream.close = () => socket.close();
    socket.on("open", () => {
      stream.status = 101;
      resolve(stream);
    });
    socket.on("message", (data) => stream.events.push(JSON.parse(String(data))));
    socket.on("ping", () => (stream.beats = (stream.beats ?? 0) + 1));
    socket.on("unexpected-response", (request, answer) => {
      let text = "";
      answer.on("data", (piece) => (text += piece));
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, body: JSON.parse(text) }));
    });
    socket.on("close", (code, reason) => {
      stream.isOver = true;
      stream.code = code;
      stream.reason = String(reason);
    });
    socket.on("error", (error) => (stream.status ? undefined : reject(error)));
  });
}

/** A connection after its 101, to send any bytes on: {socket, received(), isClosed}. */
export function rawWs(shop, path, { key } = {}) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: "127.0.0.1", port: shop.port, ca: shop.ca, servername: "localhost", ALPNProtocols: ["http/1.1"] });
    const raw = { socket, bytes: Buffer.alloc(0), isClosed: false };
    socket.on("error", () => {});
    socket.on("close", () => (raw.isClosed = true));
    socket.on("data", (piece) => {
      raw.bytes = Buffer.concat([raw.bytes, piece]);
      const end = raw.bytes.indexOf("\r\n\r\n");
      if (raw.head || end === -1) return;
      raw.head = raw.bytes.subarray(0, end).toString();
      raw.bytes = raw.bytes.subarray(end + 4);
      if (raw.head.startsWith("HTTP/1.1 101")) resolve(raw);
      else reject(new Error(raw.head));
    });
    socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost:${shop.port}\r\nauthorization: Bearer ${key ?? shop.dev.store_key}\r\n`
      + "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  });
}

/** A client's frame; `masked: false` is what no client may send. */
export function frame(opcode, payload = "", { fin = true, masked = true, rsv = 0, length } = {}) {
  const body = Buffer.from(payload);
  const n = length ?? BigInt(body.length);
  const head = n < 126n ? [Number(n)] : n < 65536n ? [126, ...bytesOf(n, 2)] : [127, ...bytesOf(n, 8)];
  head[0] |= masked ? 0x80 : 0;
  const mask = masked ? [1, 2, 3, 4] : [];
  return Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | rsv | opcode, ...head, ...mask]),
    masked ? body.map((byte, i) => byte ^ mask[i % 4]) : body]);
}

const bytesOf = (n, size) => Array.from({ length: size }, (_, i) => Number((n >> BigInt(8 * (size - 1 - i))) & 0xffn));

/** Code of the last close frame that the server has sent, or undefined. */
export function closeCode(raw) {
  for (let at = 0; at + 2 <= raw.bytes.length; ) {
    const opcode = raw.bytes[at] & 0x0f, short = raw.bytes[at + 1] & 0x7f;
    const head = short === 126 ? 4 : short === 127 ? 10 : 2;
    const len = short === 126 ? raw.bytes.readUInt16BE(at + 2) : short === 127 ? Number(raw.bytes.readBigUInt64BE(at + 2)) : short;
    if (opcode === 8 && at + head + len <= raw.bytes.length) return raw.bytes.readUInt16BE(at + head);
    at += head + len;
  }
  return undefined;
}
