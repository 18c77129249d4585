// RFC 9113, case by case, over raw frames: what a client may do is served, what it must not do is an error of the kind
// that the RFC names. An error of a stream may be treated as one of the connection (section 5.4.2), and is here
// wherever it could serve to make the server reset streams by the thousand; `hangs up` is such a one without GOAWAY.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Shop } from "./support/shop.mjs";
import { ERROR, FLAG, PREFACE, Raw, SETTING, TYPE, block, data, field, frame, headers, number, ping, placeOf, priority, request,
  rst, settings, u32, windowUpdate } from "./support/frames.mjs";

let shop, post;
before(async () => {
  shop = await Shop.start({ args: ["--no-demo", "--set", "server.workers=1", "--set", "server.jobs_workers=0"] });
  post = request("POST", "/store/v1/carts", [["content-type", "application/json"], ["authorization", `Bearer ${shop.dev.store_key}`]]);
});
after(() => shop?.stop());

const ASSET = "/openapi.json";
const GET = request("GET", ASSET);
const CART = JSON.stringify({ currency: "GBP", country: "GB" });
const isReset = (stream) => (f) => f.type === TYPE.RST_STREAM && f.stream === stream;
const get = (stream, more = []) => headers(stream, request("GET", ASSET, more));

async function withRaw(act, options) {
  const raw = await Raw.connect(placeOf(shop), options);
  try {
    return await act(raw);
  } finally {
    raw.close();
  }
}

/** The connection ends with this error. */
const ends = (code, ...frames) => withRaw(async (raw) => {
  await raw.send(...frames);
  assert.ok(await raw.ended(), "the connection stayed open");
  assert.equal(raw.goaway, code);
});
/** The stream is reset with this error; the connection goes on. */
const resets = (stream, code, ...frames) => withRaw(async (raw) => {
  await raw.send(...frames);
  const got = await raw.get(isReset(stream));
  assert.equal(got?.payload.readUInt32BE(0), code);
  await assertAlive(raw);
});
/** Hung up on, as one who means harm. */
const cut = (...frames) => withRaw(async (raw) => {
  await raw.send(...frames);
  assert.ok(await raw.ended(), "the connection stayed open");
  assert.equal(raw.goaway, undefined);
});
/** Nothing comes of it; the connection goes on. */
const ignored = (...frames) => withRaw(async (raw) => {
  await raw.send(...frames);
  await assertAlive(raw);
});
/** Answered with this status. */
const answered = (status, stream, ...frames) => withRaw(async (raw) => {
  await raw.send(...frames);
  assert.equal(statusOf(await raw.answer(stream)), status);
  await assertAlive(raw);
});

async function assertAlive(raw) {
  const text = "is alive";
  await raw.send(ping(text));
  const pong = await raw.get((f) => f.type === TYPE.PING && f.payload.toString() === text);
  assert.ok(pong, "the connection has ended");
  assert.equal(pong.flags, FLAG.ACK);
  assert.equal(raw.goaway, undefined);
}

/** The status of an answer: the first field, as libh2o writes it. */
function statusOf(answer) {
  assert.ok(answer, "no answer came");
  const known = { 0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500 };
  return known[answer.payload[0]] ?? Number(answer.payload.subarray(2, 5).toString());
}

const cases = (name, table) => describe(name, () => {
  for (const [what, act] of Object.entries(table)) it(what, act);
});

cases("the preface (3.4)", {
  "is answered with SETTINGS first": () => withRaw(async (raw) => {
    await raw.get((f) => f.type === TYPE.SETTINGS && f.flags === FLAG.ACK);
    assert.equal(raw.frames[0].type, TYPE.SETTINGS);
    assert.equal(raw.frames[0].flags, 0);
    assert.equal(raw.frames[0].stream, 0);
  }),
  "may come in pieces": () => withRaw(async (raw) => {
    const bytes = Buffer.concat([PREFACE, settings(), get(1)]);
    for (let i = 0; i < bytes.length; i += 7) await raw.send(bytes.subarray(i, i + 7));
    assert.equal(statusOf(await raw.answer(1)), 200);
  }, { hello: false }),
  "that is another is the end": () => withRaw(async (raw) => {
    await raw.send(Buffer.from("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"), settings());
    assert.ok(await raw.ended());
  }, { hello: false }),
  "without SETTINGS is an error": () => withRaw(async (raw) => {
    await raw.send(PREFACE, get(1));
    assert.ok(await raw.ended());
    assert.equal(raw.goaway, ERROR.PROTOCOL_ERROR);
    assert.equal(raw.frames.some((f) => f.type === TYPE.HEADERS), false);
  }, { hello: false }),
});

cases("frames (4)", {
  "of unknown types are ignored (4.1)": () => answered(200, 1, frame(0x16, 0, 0), frame(0xff, 255, 3, Buffer.alloc(100)), get(1)),
  "between a request and its body, too (4.1)": () => answered(201, 1, headers(1, post, { end: false }), frame(0xf0, 0, 1, Buffer.from("x")),
    data(1, CART, true)),
  "with the reserved bit set are read (4.1)": () => withRaw(async (raw) => {
    const bytes = get(1);
    bytes[5] |= 0x80;
    await raw.send(bytes);
    assert.equal(statusOf(await raw.answer(1)), 200);
  }),
  "with unknown flags are read (4.1)": () => withRaw(async (raw) => {
    await raw.send(headers(1, GET, { flags: FLAG.END_HEADERS | 0xc2 }));
    assert.equal(statusOf(await raw.answer(1)), 200);
  }),
  "of 16,384 bytes are read (4.2)": () => answered(201, 1, headers(1, post, { end: false }),
    ...Array.from({ length: 3 }, () => data(1, Buffer.alloc(16384, " "))), data(1, CART, true)),
  "longer than announced are an error: DATA (4.2)": () => ends(ERROR.FRAME_SIZE_ERROR, headers(1, post, { end: false }), data(1, Buffer.alloc(16385))),
  "longer than announced are an error: HEADERS (4.2)": () => ends(ERROR.FRAME_SIZE_ERROR,
    headers(1, Buffer.concat([block(GET), field("x", "a".repeat(16384))]))),
  "longer than announced are an error: unknown ones (4.2)": () => ends(ERROR.FRAME_SIZE_ERROR, frame(0x20, 0, 0, Buffer.alloc(16385))),
  "with headers that cannot be decoded are an error (4.3)": () => ends(ERROR.COMPRESSION_ERROR, headers(1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))),
  "with an index beyond the table are an error (4.3)": () => ends(ERROR.COMPRESSION_ERROR, headers(1, Buffer.concat([block(GET), number(0x80, 7, 70)]))),
  "with a table larger than allowed are an error (4.3)": () => ends(ERROR.COMPRESSION_ERROR, headers(1, Buffer.concat([number(0x20, 5, 4097), block(GET)]))),
});

cases("streams (5.1)", {
  "idle: DATA is an error": () => ends(ERROR.PROTOCOL_ERROR, data(1, "x", true)),
  "idle: RST_STREAM is an error": () => ends(ERROR.PROTOCOL_ERROR, rst(1)),
  "idle: WINDOW_UPDATE is an error": () => ends(ERROR.PROTOCOL_ERROR, windowUpdate(1, 100)),
  "idle: PRIORITY is allowed": () => answered(200, 1, priority(5, 0), get(1)),
  "idle: CONTINUATION hangs up": () => cut(frame(TYPE.CONTINUATION, FLAG.END_HEADERS, 1, block(GET))),
  "half-closed: DATA hangs up": () => cut(get(1), data(1, "x", true)),
  "half-closed: HEADERS is an error": () => ends(ERROR.PROTOCOL_ERROR, get(1), get(1)),
  "half-closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed": () => ignored(get(1), windowUpdate(1, 1000), priority(1, 0), rst(1)),
  "closed by RST_STREAM: DATA hangs up": () => cut(headers(1, post, { end: false }), rst(1), data(1, "x")),
  "closed by RST_STREAM: HEADERS is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, post, { end: false }), rst(1), headers(1, post)),
  "closed by RST_STREAM: WINDOW_UPDATE and RST_STREAM are allowed": () => ignored(headers(1, post, { end: false }), rst(1), windowUpdate(1, 5), rst(1)),
  "with even numbers are an error (5.1.1)": () => ends(ERROR.PROTOCOL_ERROR, get(2)),
  "with falling numbers are an error (5.1.1)": () => ends(ERROR.PROTOCOL_ERROR, get(5), get(3)),
  "with falling numbers are an error, known by PRIORITY or not (5.1.1)": () => ends(ERROR.PROTOCOL_ERROR, priority(3, 0), get(5), get(3)),
  "may leave numbers out (5.1.1)": () => answered(200, 101, get(3), get(101)),
  "up to the last number are served (5.1.1)": () => answered(200, 0x7fffffff, get(0x7fffffff)),
  "more than 100 at once are refused (5.1.2)": () => withRaw(async (raw) => {
    await raw.send(...Array.from({ length: 101 }, (_, i) => get(2 * i + 1)));
    assert.equal((await raw.get(isReset(201)))?.payload.readUInt32BE(0), ERROR.REFUSED_STREAM);
    await assertAlive(raw);
  }, { pairs: [[SETTING.INITIAL_WINDOW_SIZE, 0]] }),
  "that depend on themselves are an error (5.3.1)": () => ends(ERROR.PROTOCOL_ERROR, priority(1, 1)),
  "that depend on themselves are an error in HEADERS, too (5.3.1)": () => ends(ERROR.PROTOCOL_ERROR,
    headers(1, Buffer.concat([u32(1), Buffer.from([15]), block(GET)]), { flags: FLAG.END_HEADERS | FLAG.PRIORITY })),
});

cases("DATA and HEADERS (6.1, 6.2)", {
  "DATA on stream 0 is an error": () => ends(ERROR.PROTOCOL_ERROR, data(0, "x")),
  "HEADERS on stream 0 is an error": () => ends(ERROR.PROTOCOL_ERROR, get(0)),
  "padding is taken off DATA": () => answered(201, 1, headers(1, post, { end: false }),
    frame(TYPE.DATA, FLAG.PADDED | FLAG.END_STREAM, 1, Buffer.concat([Buffer.from([9]), Buffer.from(CART), Buffer.alloc(9)]))),
  "padding is taken off HEADERS": () => withRaw(async (raw) => {
    await raw.send(headers(1, Buffer.concat([Buffer.from([200]), block(GET), Buffer.alloc(200)]), { flags: FLAG.END_HEADERS | FLAG.PADDED }));
    assert.equal(statusOf(await raw.answer(1)), 200);
  }),
  "padding and priority together are taken off HEADERS": () => withRaw(async (raw) => {
    await raw.send(headers(1, Buffer.concat([Buffer.from([3]), u32(0), Buffer.from([15]), block(GET), Buffer.alloc(3)]),
      { flags: FLAG.END_HEADERS | FLAG.PADDED | FLAG.PRIORITY }));
    assert.equal(statusOf(await raw.answer(1)), 200);
  }),
  "padding longer than DATA is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, post, { end: false }),
    frame(TYPE.DATA, FLAG.PADDED, 1, Buffer.from([9, 1, 2]))),
  "padding longer than HEADERS is an error": () => ends(ERROR.PROTOCOL_ERROR,
    headers(1, Buffer.concat([Buffer.from([255]), block(request("GET", "/"))]), { flags: FLAG.END_HEADERS | FLAG.PADDED })),
  "padding without a length is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, Buffer.alloc(0), { flags: FLAG.END_HEADERS | FLAG.PADDED })),
  "priority cut short is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, Buffer.alloc(4), { flags: FLAG.END_HEADERS | FLAG.PRIORITY })),
  "an empty DATA may end a request": () => answered(201, 1, headers(1, post, { end: false }), data(1, CART), data(1, "", true)),
});

cases("PRIORITY and RST_STREAM (6.3, 6.4)", {
  "PRIORITY on stream 0 is an error": () => ends(ERROR.PROTOCOL_ERROR, priority(0, 3)),
  "PRIORITY of 4 bytes is an error": () => ends(ERROR.FRAME_SIZE_ERROR, frame(TYPE.PRIORITY, 0, 1, Buffer.alloc(4))),
  "RST_STREAM on stream 0 is an error": () => ends(ERROR.PROTOCOL_ERROR, rst(0)),
  "RST_STREAM of 3 bytes is an error": () => ends(ERROR.FRAME_SIZE_ERROR, get(1), frame(TYPE.RST_STREAM, 0, 1, Buffer.alloc(3))),
  "RST_STREAM ends the answer": () => withRaw(async (raw) => {
    await raw.send(get(1), rst(1), ping());
    await raw.get((f) => f.type === TYPE.PING);
    await assertAlive(raw);
    assert.equal(raw.frames.some((f) => f.stream === 1 && f.type === TYPE.DATA), false);
  }, { pairs: [[SETTING.INITIAL_WINDOW_SIZE, 0]] }),
});

const oneSetting = (id, value) => settings([[id, value]]);
cases("SETTINGS (6.5)", {
  "are acknowledged": () => withRaw(async (raw) => {
    await raw.send(settings([[SETTING.MAX_CONCURRENT_STREAMS, 5]]));
    await raw.get(() => raw.frames.filter((f) => f.type === TYPE.SETTINGS && f.flags === FLAG.ACK).length === 2);
    assert.equal(raw.isClosed, false);
  }),
  "unknown ones are ignored": () => answered(200, 1, oneSetting(0xf00f, 77), get(1)),
  "on a stream are an error": () => ends(ERROR.PROTOCOL_ERROR, frame(TYPE.SETTINGS, 0, 1)),
  "ACK with a payload is an error": () => ends(ERROR.FRAME_SIZE_ERROR, frame(TYPE.SETTINGS, FLAG.ACK, 0, Buffer.alloc(6))),
  "of 5 bytes are an error": () => ends(ERROR.FRAME_SIZE_ERROR, frame(TYPE.SETTINGS, 0, 0, Buffer.alloc(5))),
  "ENABLE_PUSH 2 is an error": () => ends(ERROR.PROTOCOL_ERROR, oneSetting(SETTING.ENABLE_PUSH, 2)),
  "INITIAL_WINDOW_SIZE above 2^31-1 is an error": () => ends(ERROR.FLOW_CONTROL_ERROR, oneSetting(SETTING.INITIAL_WINDOW_SIZE, 2 ** 31)),
  "MAX_FRAME_SIZE below 16,384 is an error": () => ends(ERROR.PROTOCOL_ERROR, oneSetting(SETTING.MAX_FRAME_SIZE, 16383)),
  "MAX_FRAME_SIZE above 2^24-1 is an error": () => ends(ERROR.PROTOCOL_ERROR, oneSetting(SETTING.MAX_FRAME_SIZE, 2 ** 24)),
  "HEADER_TABLE_SIZE 0 is kept to": () => answered(200, 3, oneSetting(SETTING.HEADER_TABLE_SIZE, 0), get(1), get(3)),
  "the last of two values counts": () => withRaw(async (raw) => {
    await raw.send(settings([[SETTING.INITIAL_WINDOW_SIZE, 100], [SETTING.INITIAL_WINDOW_SIZE, 3]]), get(1));
    assert.equal((await raw.get((f) => f.type === TYPE.DATA)).payload.length, 3);
  }),
});

cases("PUSH_PROMISE, PING, GOAWAY (6.6 to 6.8)", {
  "PUSH_PROMISE from a client is an error": () => ends(ERROR.PROTOCOL_ERROR, frame(TYPE.PUSH_PROMISE, FLAG.END_HEADERS, 1, u32(2))),
  "PING is answered with its own bytes": () => ignored(ping("abcdefgh")),
  "PING with ACK is not answered": () => withRaw(async (raw) => {
    await raw.send(ping("unasked!", FLAG.ACK));
    await assertAlive(raw);
    assert.equal(raw.frames.some((f) => f.type === TYPE.PING && f.payload.toString() === "unasked!"), false);
  }),
  "PING on a stream is an error": () => ends(ERROR.PROTOCOL_ERROR, frame(TYPE.PING, 0, 1, Buffer.alloc(8))),
  "PING of 7 bytes is an error": () => ends(ERROR.FRAME_SIZE_ERROR, frame(TYPE.PING, 0, 0, Buffer.alloc(7))),
  "GOAWAY on a stream is an error": () => ends(ERROR.PROTOCOL_ERROR, frame(TYPE.GOAWAY, 0, 1, Buffer.alloc(8))),
  "GOAWAY of 7 bytes is an error": () => ends(ERROR.FRAME_SIZE_ERROR, frame(TYPE.GOAWAY, 0, 0, Buffer.alloc(7))),
  "GOAWAY lets what was asked be answered": () => answered(200, 1, get(1), frame(TYPE.GOAWAY, 0, 0, Buffer.alloc(8))),
});

cases("WINDOW_UPDATE and flow control (5.2, 6.9)", {
  "by 0 on the connection is an error": () => ends(ERROR.PROTOCOL_ERROR, windowUpdate(0, 0)),
  "by 0 on a stream is an error": () => ends(ERROR.PROTOCOL_ERROR, get(1), windowUpdate(1, 0)),
  "of 3 bytes is an error": () => ends(ERROR.FRAME_SIZE_ERROR, frame(TYPE.WINDOW_UPDATE, 0, 0, Buffer.alloc(3))),
  "above 2^31-1 on the connection is an error": () => ends(ERROR.FLOW_CONTROL_ERROR, windowUpdate(0, 2 ** 31 - 1)),
  "above 2^31-1 on a stream resets it": () => withRaw(async (raw) => {
    await raw.send(get(1), windowUpdate(1, 2 ** 31 - 1));
    assert.equal((await raw.get(isReset(1)))?.payload.readUInt32BE(0), ERROR.FLOW_CONTROL_ERROR);
    await assertAlive(raw);
  }, { pairs: [[SETTING.INITIAL_WINDOW_SIZE, 1]] }),
  "no more is sent than a stream's window": () => withRaw(async (raw) => {
    await raw.send(get(1));
    assert.equal((await raw.get((f) => f.type === TYPE.DATA)).payload.length, 10);
    await assertAlive(raw);
    assert.equal(sum(raw, 1), 10);
    await raw.send(windowUpdate(1, 7));
    await raw.get(() => sum(raw, 1) === 17);
    await assertAlive(raw);
    assert.equal(sum(raw, 1), 17);
  }, { pairs: [[SETTING.INITIAL_WINDOW_SIZE, 10]] }),
  "no more is sent than the connection's window": () => withRaw(async (raw) => {
    await raw.send(get(1), get(3));
    await raw.get(() => sum(raw, 1) + sum(raw, 3) === 65535);
    await assertAlive(raw);
    assert.equal(sum(raw, 1) + sum(raw, 3), 65535);
  }, { pairs: [[SETTING.INITIAL_WINDOW_SIZE, 2 ** 20]] }),
  "SETTINGS open the windows of streams that are there": () => withRaw(async (raw) => {
    await raw.send(get(1));
    assert.equal(statusOf(await raw.answer(1)), 200);
    await raw.send(oneSetting(SETTING.INITIAL_WINDOW_SIZE, 12));
    await raw.get(() => sum(raw, 1) === 12);
    await assertAlive(raw);
    assert.equal(sum(raw, 1), 12);
  }, { pairs: [[SETTING.INITIAL_WINDOW_SIZE, 0]] }),
  "SETTINGS may make a window negative": () => withRaw(async (raw) => {
    await raw.send(get(1));
    await raw.get(() => sum(raw, 1) === 20);
    await raw.send(oneSetting(SETTING.INITIAL_WINDOW_SIZE, 5), windowUpdate(1, 15));
    await assertAlive(raw);
    assert.equal(sum(raw, 1), 20);
    await raw.send(windowUpdate(1, 4));
    await raw.get(() => sum(raw, 1) === 24);
    assert.equal(sum(raw, 1), 24);
  }, { pairs: [[SETTING.INITIAL_WINDOW_SIZE, 20]] }),
});

const sum = (raw, stream) => raw.frames.filter((f) => f.type === TYPE.DATA && f.stream === stream)
  .reduce((n, f) => n + f.payload.length, 0);

cases("CONTINUATION (6.10)", {
  "hangs up: the second half of a request's headers": () => cut(headers(1, GET, { flags: 0 }), frame(TYPE.CONTINUATION, FLAG.END_HEADERS, 1)),
  "hangs up: headers that are not complete": () => cut(headers(1, GET, { flags: 0 })),
});

const without = (name) => GET.filter(([n]) => n !== name);
const twice = (name) => [...GET.filter(([n]) => n.startsWith(":")), [name, GET.find(([n]) => n === name)[1]]];
cases("fields of a request (8.1 to 8.3)", {
  "upper case in a name is an error": () => ends(ERROR.PROTOCOL_ERROR, get(1, [["X-Upper", "1"]])),
  "an odd character in a name is 400": () => answered(400, 1, get(1, [["x y", "1"]])),
  "an odd character in a value is 400": () => answered(400, 1, get(1, [["x", "a\rb"]])),
  "a line break in a value is 400": () => answered(400, 1, get(1, [["x", "a\nb: c"]])),
  "a NUL in a value is 400": () => answered(400, 1, get(1, [["x", "a\0b"]])),
  "an empty name is 400": () => answered(400, 1, get(1, [["", "x"]])),
  "no method resets the stream": () => resets(1, ERROR.PROTOCOL_ERROR, headers(1, without(":method"))),
  "no scheme resets the stream": () => resets(1, ERROR.PROTOCOL_ERROR, headers(1, without(":scheme"))),
  "no path resets the stream": () => resets(1, ERROR.PROTOCOL_ERROR, headers(1, without(":path"))),
  "an empty path is 400": () => answered(400, 1, headers(1, request("GET", ""))),
  "a method twice is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, twice(":method"))),
  "a path twice is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, twice(":path"))),
  "a scheme twice is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, twice(":scheme"))),
  "an authority twice is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, twice(":authority"))),
  "an unknown pseudo-field is an error": () => ends(ERROR.PROTOCOL_ERROR, get(1, []), headers(3, [[":odd", "1"], ...GET])),
  "a pseudo-field of answers is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, [...GET, [":status", "200"]])),
  "a pseudo-field behind others is an error": () => ends(ERROR.PROTOCOL_ERROR, headers(1, [["x", "1"], ...GET])),
  ...Object.fromEntries([["connection", "close"], ["transfer-encoding", "chunked"], ["upgrade", "h2c"], ["http2-settings", "AAAA"]].map(([name, value]) => [`${name} is an error`, () => ends(ERROR.PROTOCOL_ERROR, get(1, [[name, value]]))])),
  "keep-alive is 400": () => answered(400, 1, get(1, [["keep-alive", "1"]])),
  "proxy-connection is 400": () => answered(400, 1, get(1, [["proxy-connection", "close"]])),
  "TE other than trailers is an error": () => ends(ERROR.PROTOCOL_ERROR, get(1, [["te", "gzip"]])),
  "TE: trailers is allowed": () => answered(200, 1, get(1, [["te", "trailers"]])),
  "cookies may come in pieces": () => answered(200, 1, get(1, [["cookie", "a=1"], ["cookie", "b=2"]])),
  "CONNECT is refused": () => resets(1, ERROR.PROTOCOL_ERROR, headers(1, [[":method", "CONNECT"], [":authority", "localhost:443"]])),
  "128 fields are read": () => answered(200, 1, get(1, Array.from({ length: 124 }, (_, i) => [`x-${i}`, "1"]))),
  "129 fields hang up": () => cut(get(1, Array.from({ length: 125 }, (_, i) => [`x-${i}`, "1"]))),
});

const body = (length, ...frames) => [headers(1, [...post, ["content-length", String(length)]], { end: false }), ...frames];
cases("bodies (8.1.1)", {
  "as long as content-length says are read": () => answered(201, 1, ...body(CART.length, data(1, CART, true))),
  "shorter than content-length reset the stream": () => resets(1, ERROR.PROTOCOL_ERROR, ...body(CART.length + 1, data(1, CART, true))),
  "longer than content-length reset the stream": () => resets(1, ERROR.PROTOCOL_ERROR, ...body(CART.length - 1, data(1, CART, true))),
  "with a content-length that is no number are an error": () => ends(ERROR.PROTOCOL_ERROR, ...body("12a", data(1, CART, true))),
  "may be followed by trailers": () => answered(201, 1, ...body(CART.length, data(1, CART), headers(1, [["x-sum", "1"]]))),
  "trailers without END_STREAM are an error": () => ends(ERROR.PROTOCOL_ERROR, ...body(CART.length, data(1, CART), headers(1, [["x-sum", "1"]], { end: false }))),
  "trailers with a pseudo-field are an error": () => ends(ERROR.PROTOCOL_ERROR, ...body(CART.length, data(1, CART), headers(1, [[":path", "/"]]))),
});
