// http_server.mjs - the other end for test_http.c: HTTP/1.1 plain, and HTTP/2 + HTTP/1.1 over TLS.
//
//   node http_server.mjs KEY CERT   prints "PLAIN_PORT TLS_PORT" and serves until it is killed
//
// What a path does: /echo answers the request as text; /slow never answers; /reset breaks the
// connection after the whole request; /half breaks it within the body; /big?n=N answers N bytes;
// /once answers once on a connection and breaks it on the next request; /hits counts calls of /once.
import { readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";

const [key, cert] = process.argv.slice(2).map((path) => readFileSync(path));
const served = new WeakMap();
const seen = new Map();
let hits = 0;

function number(socket) {
  if (!seen.has(socket)) seen.set(socket, seen.size + 1);
  return seen.get(socket);
}

function echo(req, res, body) {
  const names = Object.keys(req.headers).filter((name) => !name.startsWith(":")).sort();
  res.setHeader("X-Mixed-Case", "  Value ");
  res.setHeader("set-cookie", ["a=1", "b=2"]);
  res.setHeader("x-connection", String(number(req.stream ? req.stream.session : req.socket)));
  res.statusCode = 201;
  const lines = names.map((name) => `${name}=${req.headers[name]}`);
  res.end(`${req.method} ${req.url}\n${lines.join("\n")}\n\n${body}`);
}

function break_off(req) {
  if (req.stream) req.stream.session.destroy();
  else req.socket.destroy();
}

function once(req, res) {
  const connection = req.stream ? req.stream.session : req.socket;
  hits += 1;
  if (served.has(connection)) return break_off(req);
  served.set(connection, true);
  res.end("first");
}

function half(req, res) {
  res.writeHead(200, { "content-length": "1000" });
  res.write("half");
  setImmediate(() => break_off(req));
}

function on_request(req, res) {
  const chunks = [];
  const url = new URL(req.url, "http://x");
  req.on("error", () => {});
  res.on("error", () => {});
  req.on("data", (chunk) => chunks.push(chunk));
  req.on("end", () => {
    const body = Buffer.concat(chunks).toString("latin1");
    if (url.pathname === "/slow") return;
    if (url.pathname === "/reset") return break_off(req);
    if (url.pathname === "/half") return half(req, res);
    if (url.pathname === "/once") return once(req, res);
    if (url.pathname === "/hits") return res.end(String(hits));
    if (url.pathname === "/redirect") return res.writeHead(302, { location: "/echo" }).end();
    if (url.pathname === "/big") return res.end("x".repeat(Number(url.searchParams.get("n"))));
    echo(req, res, body);
  });
}

const plain = http.createServer({ keepAliveTimeout: 60000 }, on_request);
const secure = http2.createSecureServer({ key, cert, allowHTTP1: true }, on_request);
secure.on("sessionError", () => {});
plain.listen(0, "127.0.0.1", () =>
  secure.listen(0, "127.0.0.1", () => console.log(`${plain.address().port} ${secure.address().port}`)));
