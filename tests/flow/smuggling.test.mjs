// Requests that two readers would understand in two ways. Behind each comes another one, the poison, which is for
// some reader a part of the first: it must never be executed, and the connection is closed.
import assert from "node:assert/strict";
import fs from "node:fs";
import http2 from "node:http2";
import path from "node:path";
import tls from "node:tls";
import { after, before, describe, it } from "node:test";
import { Shop, until } from "./support/shop.mjs";
import { exchange, statuses } from "./support/raw.mjs";

let shop;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.max_body_bytes=4096", "--set", "server.max_header_bytes=8192"] });
});
after(() => shop?.stop());

const AT = "POST /store/v1/carts HTTP/1.1\r\n";
const HOST = "Host: localhost\r\n";
const JSON_TYPE = "Content-Type: application/json\r\n";
const head = (...lines) => `${AT}${HOST}${JSON_TYPE}${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
const get = (target, ...lines) => `GET ${target} HTTP/1.1\r\n${HOST}${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
const chunked = (body) => head("Transfer-Encoding: chunked") + body;
const line = (text) => `${text}\r\n${HOST}\r\n`;

// name: bytes, or [bytes, the right status]; 400 where none is named
const FORMS = {
  lengths: {
    "two that differ": head("Content-Length: 2", "Content-Length: 0") + "{}",
    "two alike": head("Content-Length: 2", "Content-Length: 2") + "{}",
    "a list of two": head("Content-Length: 2, 2") + "{}",
    "with a plus": head("Content-Length: +2") + "{}",
    "with a minus": head("Content-Length: -2") + "{}",
    "hexadecimal": head("Content-Length: 0x2") + "{}",
    "empty": head("Content-Length:") + "{}",
    "with a blank behind": head("Content-Length: 2 ") + "{}",
    "with a tab behind": head("Content-Length: 2\t") + "{}",
    "with a blank inside": head("Content-Length: 1 0") + "{}",
    "with a form feed before": head("Content-Length: \f2") + "{}",
    "of a fraction": head("Content-Length: 2.0") + "{}",
    "of an exponent": head("Content-Length: 2e0") + "{}",
    "that overflows 64 bits": head("Content-Length: 18446744073709551618") + "{}",
    "of 19 digits": head("Content-Length: 0000000000000000002") + "{}",
    "in digits of another script": head("Content-Length: \xd9\xa2") + "{}",
    "with a blank before the colon": head("Content-Length : 2") + "{}",
    "in another case, twice": head("content-length: 2", "CONTENT-LENGTH: 0") + "{}",
    "that is larger than we take": [head("Content-Length: 4097") + "{}", 413],
  },
  codings: {
    "beside a length": head("Content-Length: 2", "Transfer-Encoding: chunked") + "0\r\n\r\n",
    "before a length": head("Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n",
    "twice": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n",
    "chunked and identity in two lines": head("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n",
    "chunked, identity": head("Transfer-Encoding: chunked, identity") + "0\r\n\r\n",
    "identity, chunked": head("Transfer-Encoding: identity, chunked") + "0\r\n\r\n",
    "gzip, chunked": head("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n",
    "identity": head("Transfer-Encoding: identity") + "0\r\n\r\n",
    "xchunked": head("Transfer-Encoding: xchunked") + "0\r\n\r\n",
    "chunkedx": head("Transfer-Encoding: chunkedx") + "0\r\n\r\n",
    "in quotes": head('Transfer-Encoding: "chunked"') + "0\r\n\r\n",
    "with a parameter": head("Transfer-Encoding: chunked;q=1") + "0\r\n\r\n",
    "with a blank behind": head("Transfer-Encoding: chunked ") + "0\r\n\r\n",
    "with a vertical tab before": head("Transfer-Encoding:\vchunked") + "0\r\n\r\n",
    "with a NUL behind": head("Transfer-Encoding: chunked\0") + "0\r\n\r\n",
    "with a bare CR before": head("Transfer-Encoding: \rchunked") + "0\r\n\r\n",
    "with a blank before the colon": head("Transfer-Encoding : chunked") + "0\r\n\r\n",
    "with a blank before the name": head(" Transfer-Encoding: chunked") + "0\r\n\r\n",
    "folded": head("Transfer-Encoding:\r\n chunked") + "0\r\n\r\n",
    "folded with a tab": head("X: y\r\n\tTransfer-Encoding: chunked") + "0\r\n\r\n",
    "behind a bare LF": head("X: y\nTransfer-Encoding: chunked") + "0\r\n\r\n",
    "behind a bare CR": head("X: y\rTransfer-Encoding: chunked") + "0\r\n\r\n",
    "empty": head("Transfer-Encoding:") + "0\r\n\r\n",
    "in HTTP/1.0": `POST /store/v1/carts HTTP/1.0\r\n${HOST}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    "that Connection hides": head("Connection: close, Transfer-Encoding", "Transfer-Encoding: chunked") + "0\r\n\r\n",
  },
  chunks: {
    "of a negative size": chunked("-2\r\n{}\r\n0\r\n\r\n"),
    "of a size with 0x": chunked("0x2\r\n{}\r\n0\r\n\r\n"),
    "of a size with a plus": chunked("+2\r\n{}\r\n0\r\n\r\n"),
    "of a size with a blank before": chunked(" 2\r\n{}\r\n0\r\n\r\n"),
    "of a size with a blank behind": chunked("2 \r\n{}\r\n0\r\n\r\n"),
    "of a size with something behind": chunked("2x\r\n{}\r\n0\r\n\r\n"),
    "of a size of 17 digits": chunked("00000000000000002\r\n{}\r\n0\r\n\r\n"),
    "of a size that overflows": [chunked("ffffffffffffffff\r\n{}\r\n0\r\n\r\n"), 413],
    "of a size that overflows with what was": [chunked("2\r\n{}\r\nfffffffffffffffe\r\n{}\r\n0\r\n\r\n"), 413],
    "of no size": chunked("\r\n{}\r\n0\r\n\r\n"),
    "of a size that ends in a bare LF": chunked("2\n{}\r\n0\r\n\r\n"),
    "of a size that ends in a bare CR": chunked("2\r{}\r\n0\r\n\r\n"),
    "whose extension holds a bare LF": chunked("2;a\nb\r\n{}\r\n0\r\n\r\n"),
    "whose extension holds a NUL": chunked("2;a\0b\r\n{}\r\n0\r\n\r\n"),
    "whose extension is endless": chunked(`2;${"a".repeat(2000)}\r\n{}\r\n0\r\n\r\n`),
    "with more data than was said": chunked("2\r\n{}x\r\n0\r\n\r\n"),
    "without a line end": chunked("2\r\n{}0\r\n\r\n"),
    "whose data end in a bare LF": chunked("2\r\n{}\n0\r\n\r\n"),
    "whose data end in two CR": chunked("2\r\n{}\r\r\n0\r\n\r\n"),
    "with a Content-Length in the trailer": chunked("2\r\n{}\r\n0\r\nContent-Length: 10\r\n\r\n"),
    "with a Transfer-Encoding in the trailer": chunked("2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "with a Host in the trailer": chunked("2\r\n{}\r\n0\r\nHost: other\r\n\r\n"),
    "with a trailer that is none": chunked("2\r\n{}\r\n0\r\nGET / HTTP/1.1\r\n\r\n"),
    "with a folded trailer": chunked("2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n"),
    "with a trailer that ends in a bare LF": chunked("2\r\n{}\r\n0\r\nX: y\n\r\n"),
    "larger than we take, all together": [chunked(`800\r\n${"a".repeat(2048)}\r\n`.repeat(2) + "1\r\na\r\n0\r\n\r\n"), 413],
  },
  hosts: {
    "none": "GET / HTTP/1.1\r\n\r\n",
    "two": get("/", "Host: other"),
    "two alike": get("/", "Host: localhost"),
    "empty": "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "with a path": "GET / HTTP/1.1\r\nHost: localhost/admin\r\n\r\n",
    "with somebody's name": "GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n",
    "with a query": "GET / HTTP/1.1\r\nHost: localhost?x\r\n\r\n",
    "with a blank": "GET / HTTP/1.1\r\nHost: local host\r\n\r\n",
    "with a comma": "GET / HTTP/1.1\r\nHost: localhost, other\r\n\r\n",
    "with a port that is no number": "GET / HTTP/1.1\r\nHost: localhost:8x\r\n\r\n",
    "with an empty port": "GET / HTTP/1.1\r\nHost: localhost:\r\n\r\n",
    "with a bracket that does not close": "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "in another script": "GET / HTTP/1.1\r\nHost: l\xf6calhost\r\n\r\n",
    "folded": "GET / HTTP/1.1\r\nHost:\r\n localhost\r\n\r\n",
    "with a blank before the colon": "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "that Connection hides": get("/", "Connection: close, Host"),
  },
  "request lines": {
    "with an absolute target": line("GET https://localhost/store/v1/products HTTP/1.1"),
    "with an absolute target elsewhere": line("GET http://other/store/v1/products HTTP/1.1"),
    "with an authority": line("CONNECT localhost:443 HTTP/1.1"),
    "with an asterisk": line("OPTIONS * HTTP/1.1"),
    "with a fragment": line("GET /#x HTTP/1.1"),
    "with a backslash": line("GET /store\\v1 HTTP/1.1"),
    "with a control character": line("GET /\x01 HTTP/1.1"),
    "with a NUL": line("GET /\0 HTTP/1.1"),
    "with a tab": line("GET\t/ HTTP/1.1"),
    "with bytes beyond ASCII": line("GET /\xe9 HTTP/1.1"),
    "with a blank in the target": line("GET /a b HTTP/1.1"),
    "with two blanks": line("GET  / HTTP/1.1"),
    "with a blank behind": line("GET / HTTP/1.1 "),
    "with a blank before": line(" GET / HTTP/1.1"),
    "without a target": line("GET HTTP/1.1"),
    "with no leading slash": line("GET store/v1/products HTTP/1.1"),
    "with a method that is none": line("G@T / HTTP/1.1"),
    "with an endless method": line(`${"G".repeat(100)} / HTTP/1.1`),
    "of HTTP/0.9": "GET /\r\n",
    "of HTTP/1.2": [line("GET / HTTP/1.2"), 505],
    "of HTTP/2.0": [line("GET / HTTP/2.0"), 505],
    "of HTTP/1.10": line("GET / HTTP/1.10"),
    "of HTTP/1": line("GET / HTTP/1"),
    "of http/1.1": line("GET / http/1.1"),
    "of another protocol": line("GET / SIP/2.0"),
    "of HTTP/2's preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "that end in a bare LF": `GET / HTTP/1.1\n${HOST}\r\n`,
    "behind two empty lines": `\r\n\r\n${get("/")}`,
  },
  fields: {
    "with a NUL": get("/", "X: a\0b"),
    "with a bare CR": get("/", "X: a\rb"),
    "with a bare LF": `GET / HTTP/1.1\r\n${HOST}X: a\nY: b\r\n\r\n`,
    "with DEL": get("/", "X: a\x7f"),
    "with no colon": get("/", "X"),
    "with no name": get("/", ": x"),
    "with a blank in the name": get("/", "X Y: z"),
    "with a name beyond ASCII": get("/", "X\xe9: z"),
    "that are folded": get("/", "X: a\r\n b"),
    "that begin folded": `GET / HTTP/1.1\r\n ${HOST}\r\n`,
    "that end in LF LF": `GET / HTTP/1.1\r\n${HOST}\n`,
    "that Connection hides the length of": head("Connection: content-length", "Content-Length: 2") + "{}",
    "that expect the odd": [head("Expect: 200-ok", "Content-Length: 2") + "{}", 417],
    "that expect the odd without a body": [get("/", "Expect: 100-continued"), 417],
    "101 of them": [get("/", ...Array.from({ length: 101 }, (_, i) => `X-${i}: y`)), 431],
    "that are too large": [get("/", `X: ${"y".repeat(10_000)}`), 431],
    "that are endless": [`GET / HTTP/1.1\r\n${HOST}X: ${"y".repeat(20_000)}`, 431],
    "behind a target that is too long": [`GET /${"a".repeat(20_000)}`, 414],
  },
};

// What is odd and yet can be read in one way only: the first is answered as it is meant, and then the next or not.
const SOUND = {
  "a length with blanks and a tab before": [head("Connection: close", "Content-Length: \t 2") + "{}", [201]],
  "a length with zeros before": [head("Connection: close", "Content-Length: 0002") + "{}", [201]],
  "chunks, after which it closes": [chunked("1\r\n{\r\n1;note=x\r\n}\r\n0\r\nX-Checksum: 1\r\n\r\n"), [201]],
  "CHUNKED in capitals": [head("Transfer-Encoding: CHUNKED") + "2\r\n{}\r\n0\r\n\r\n", [201]],
  "a size of 16 digits": [chunked("0000000000000002\r\n{}\r\n0\r\n\r\n"), [201]],
  "an upgrade to h2c that is not taken": [get("/openapi.json", "Connection: close, Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), [200]],
  "a body on GET": [get("/store/v1/nothing", "Content-Length: 2") + "{}", [404, 404]],
  "an empty line before": [`\r\n${get("/store/v1/nothing")}`, [404, 404]],
  "a method in small letters": [line("get /store/v1/products HTTP/1.1"), [405, 404]],
  "100-continue with the body at once": [head("Expect: 100-continue", "Content-Length: 2", "Connection: close") + "{}", [201]],
  "Host with a port": ["GET /store/v1/nothing HTTP/1.1\r\nHost: localhost:8443\r\n\r\n", [404, 404]],
  "Host of IPv6": ["GET /store/v1/nothing HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", [404, 404]],
  "HTTP/1.0 without Host": ["GET /store/v1/nothing HTTP/1.0\r\n\r\n", [404]],
};

let poisons = 0;
const poison = () => `GET /store/v1/products/poison-${++poisons} HTTP/1.1\r\n${HOST}Authorization: Bearer ${shop.dev.store_key}\r\n\r\n`;
const withKey = (text) => text.replace(HOST, `${HOST}Authorization: Bearer ${shop.dev.store_key}\r\n`);

/** Lines of requests for `target` in the log, once all that was asked before is in it. */
async function linesOf(target) {
  const mark = `/store/v1/mark-${Date.now()}`;
  await shop.h2("GET", mark);
  const lines = () => fs.readFileSync(path.join(shop.dir, "moontill.log"), "utf8").split("\n").filter((l) => l.includes("http.request"));
  await until("the mark is in the log", () => lines().some((l) => l.includes(mark)));
  return lines().filter((l) => l.includes(target));
}

async function assertClosed(bytes, status, split) {
  const all = withKey(bytes) + poison();
  const pieces = split ? [all.slice(0, split), all.slice(split)] : [all];
  const answer = await exchange(shop, pieces, { gapMs: split ? 5 : 0 });
  assert.deepEqual(statuses(answer.text), [status], answer.text);
  assert.ok(answer.closed, "it stays open");
  assert.match(answer.text, /^connection: close\r$/im);
  assert.match(answer.text, /^content-type: application\/problem\+json\r$/im);
}

describe("HTTP/1.1 refuses and closes", () => {
  for (const [kind, forms] of Object.entries(FORMS)) {
    for (const [name, form] of Object.entries(forms)) {
      const [bytes, status] = Array.isArray(form) ? form : [form, 400];
      it(`${kind} ${name}`, () => assertClosed(bytes, status));
    }
  }

  it("the same when it comes in two pieces, wherever they part", async () => {
    const forms = Object.values(FORMS).flatMap((kind) => Object.values(kind)).map((form) => (Array.isArray(form) ? form : [form, 400]));
    for (const [i, [bytes, status]] of forms.entries())
      await assertClosed(bytes, status, 1 + ((i * 7919) % (withKey(bytes).length - 1)));
  });

  it("and has executed none of the poisons", async () => {
    assert.ok(Object.values(FORMS).flatMap((kind) => Object.keys(kind)).length >= 60);
    assert.deepEqual(await linesOf("poison-"), []);
  });
});

describe("HTTP/1.1 takes", () => {
  for (const [name, [bytes, expected]] of Object.entries(SOUND)) {
    it(name, async () => {
      const answer = await exchange(shop, [withKey(bytes) + withKey(get("/store/v1/nothing", "Connection: close"))]);
      assert.deepEqual(statuses(answer.text), expected, answer.text);
      assert.ok(answer.closed);
    });
  }

  it("a byte at a time", async () => {
    const bytes = withKey(chunked("2\r\n{}\r\n0\r\n\r\n"));
    const answer = await exchange(shop, [...bytes], { gapMs: 1 });
    assert.deepEqual(statuses(answer.text), [201], answer.text);
  });

  it("an expectation by telling to go on", async () => {
    const bytes = withKey(head("Expect: 100-continue", "Content-Length: 2", "Connection: close"));
    const answer = await exchange(shop, [bytes], { until: (text) => text.includes("100 Continue\r\n\r\n") });
    assert.deepEqual(statuses(answer.text), [100]);
    const whole = await exchange(shop, [bytes, "{", "}"], { gapMs: 50 });
    assert.deepEqual(statuses(whole.text), [100, 201], whole.text);
  });

  it("no expectation of a body that is too large", async () => {
    const answer = await exchange(shop, [withKey(head("Expect: 100-continue", "Content-Length: 5000"))]);
    assert.deepEqual(statuses(answer.text), [413], answer.text);
  });

  it("a hundred requests that come at once, in their order", async () => {
    const all = Array.from({ length: 100 }, (_, i) => withKey(get(`/store/v1/nothing-${i}`, ...(i === 99 ? ["Connection: close"] : [])))).join("");
    const answer = await exchange(shop, [all]);
    const instances = [...answer.text.matchAll(/"instance":"\/store\/v1\/nothing-(\d+)"/g)].map((m) => Number(m[1]));
    assert.deepEqual(instances, Array.from({ length: 100 }, (_, i) => i));
  });

  it("the answer to an endless body, though it is sent on and on", async () => {
    const piece = `400\r\n${"a".repeat(1024)}\r\n`;
    const answer = await exchange(shop, [withKey(head("Transfer-Encoding: chunked")), ...Array(200).fill(piece)], { gapMs: 1 });
    assert.deepEqual(statuses(answer.text), [413], answer.text);
    assert.match(answer.text, /"code":"body_too_large"/);
    assert.ok(answer.closed);
  });

  it("no packed bodies, on both protocols", async () => {
    for (const protocol of ["h1", "h2"]) {
      for (const coding of ["gzip", "deflate", "br", "identity, gzip"]) {
        const answer = await shop[protocol]("POST", "/store/v1/carts", { body: Buffer.from([0x1f, 0x8b, 8, 0]), headers: { "content-encoding": coding } });
        assert.equal(answer.status, 415, answer.text);
      }
      assert.equal((await shop[protocol]("POST", "/store/v1/carts", { body: {}, headers: { "content-encoding": "identity" } })).status, 201);
    }
  });
});

// Over HTTP/2 a request is framed by its frames; what would frame it again on the way to somewhere else is refused.
describe("HTTP/2", () => {
  const session = () => new Promise((resolve, reject) => {
    const made = http2.connect(shop.dev.url, { ca: shop.ca });
    made.on("connect", () => resolve(made));
    made.on("error", reject);
  });

  /** The status, or "reset". */
  async function ask(headers, body, end = true) {
    const connection = await session();
    connection.on("error", () => {});
    try {
      return await new Promise((resolve) => {
        const stream = connection.request({ ":path": "/store/v1/carts", authorization: `Bearer ${shop.dev.store_key}`, ...headers },
          { endStream: body === undefined && end });
        stream.on("response", (got) => resolve(got[":status"]));
        stream.on("error", () => resolve("reset"));
        stream.on("close", () => resolve("reset"));
        if (body !== undefined) stream.end(body);
      });
    } finally {
      connection.destroy();
    }
  }

  const frame = (type, flags, stream, payload) => {
    const bytes = Buffer.alloc(9 + payload.length);
    bytes.writeUIntBE(payload.length, 0, 3);
    bytes[3] = type;
    bytes[4] = flags;
    bytes.writeUInt32BE(stream, 5);
    payload.copy(bytes, 9);
    return bytes;
  };
  const text = (value) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value, "latin1")]);

  /** What becomes of a GET of / with this header: "400" by its first byte in HPACK, "reset", "goaway" or "other". */
  async function askRaw(name, value) {
    const block = Buffer.concat([Buffer.from([0x82, 0x84, 0x87, 0x41]), text("localhost"), Buffer.from([0]), text(name), text(value)]);
    const bytes = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, Buffer.alloc(0)), frame(1, 5, 1, block)]);
    return new Promise((resolve) => {
      const socket = tls.connect({ host: "127.0.0.1", port: shop.port, ca: shop.ca, servername: "localhost", ALPNProtocols: ["h2"] }, () => socket.write(bytes));
      let all = Buffer.alloc(0);
      const finish = (what) => (socket.destroy(), resolve(what));
      socket.on("error", () => {});
      socket.on("close", () => finish("closed"));
      socket.on("data", (piece) => {
        all = Buffer.concat([all, piece]);
        for (let at = 0; at + 9 <= all.length; at += 9 + all.readUIntBE(at, 3)) {
          const type = all[at + 3];
          if (type === 1 && all.length > at + 9) return finish(all[at + 9] === 0x8c ? "400" : "other"); // 8c: :status 400
          if (type === 3) return finish("reset");
          if (type === 7) return finish("goaway");
        }
      });
    });
  }

  it("resets a body that is shorter or longer than its length", async () => {
    const type = { ":method": "POST", "content-type": "application/json" };
    assert.equal(await ask({ ...type, "content-length": 1 }, "{}"), "reset");
    assert.equal(await ask({ ...type, "content-length": 3 }, "{}"), "reset");
    assert.equal(await ask({ ...type, "content-length": 2 }, "{}"), 201);
  });

  it("refuses targets, methods and hosts that are none", async () => {
    for (const target of ["/store/v1/products#x", "/a b", "/\\x", "/\u0001", "x", "*"])
      assert.equal(await ask({ ":path": target }), 400, target);
    assert.equal(await ask({ ":path": "/store/v1/products?limit=1" }), 200);
    for (const host of ["a@localhost", "localhost/admin", "localhost, other", "local host"])
      assert.equal(await ask({ ":path": "/store/v1/products", ":authority": host }), 400, host);
    assert.equal(await ask({ ":path": "/store/v1/products", ":method": "G(T" }), 400);
  });

  it("refuses what is too large", async () => {
    assert.equal(await ask({ ":path": `/${"a".repeat(9000)}` }), 414);
    assert.equal(await ask({ "x-long": "a".repeat(9000) }), 431);
    assert.equal(await ask({ ":method": "POST", "content-type": "application/json" }, "a".repeat(5000)), 413);
  });

  it("refuses a coding, and headers that belong to one hop", async () => {
    // Node does not send them: HEADERS of POST / with `name: value`, by hand
    for (const [name, value] of [["transfer-encoding", "chunked"], ["te", "gzip"], ["connection", "close"], ["upgrade", "h2c"], ["x", "a\r\nb"], ["x", "a\nb"], ["x", "a\0b"]]) {
      const answer = await askRaw(name, value);
      assert.match(answer, /^(400|reset|goaway)$/, `${name}: ${JSON.stringify(value)}: ${answer}`);
    }
    assert.equal(await askRaw("te", "trailers"), "other");
  });
});

describe("afterwards", () => {
  it("the shop serves as before", async () => {
    assert.equal((await shop.store("GET", "/products?limit=1")).status, 200);
    assert.equal((await shop.h1("GET", "/store/v1/products?limit=1")).status, 200);
    const { text } = await shop.ops("/metrics");
    assert.doesNotMatch(text, /till_http_hostile_total\{reason="framing"\} [1-9]/, "libh2o reads where requests end as we do");
  });
});
