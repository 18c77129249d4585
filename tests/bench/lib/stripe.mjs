// Stripe's double in a process of its own: what it is at must not keep a client waiting that runs here.
//
//   const stripe = await startDouble();        stripe.url, stripe.pid
//   await stripe.pay([{ payment, cart, amount, currency, ends }, …]) -> [{ ref, charge, body }, …]
//        a PaymentIntent of each: `ends` captured at Stripe ("captured") or given back in part ("refunded"); `body` is the event
//        that tells of the last of it, as Stripe would send it
//   await stripe.prepare([path, …]) -> how many of the last prepared answers were never asked for. What the double answers to GET of
//        these is asked for now, and then given out as the bytes that they are: a provider would have cores of his own for that
//   stripe.stop()
import { fork } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { fileURLToPath } from "node:url";

const FILE = fileURLToPath(import.meta.url);

export async function startDouble() {
  const child = fork(FILE, ["serve"], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const next = async () => (await once(child, "message"))[0];
  const { url, key } = await next();
  const ask = async (wish) => {
    child.send(wish);
    return next();
  };
  return { url, key, pid: child.pid, stop: () => child.kill(), pay: (list) => ask({ list }), prepare: (paths) => ask({ paths }) };
}

const TOLD = { captured: "payment_intent.succeeded", refunded: "charge.refunded" };

function payOne({ world, intents, refunds }, { payment, cart, amount, currency, ends }) {
  const params = { amount, currency, payment_method: "pm_card_visa", payment_method_types: ["card"], confirm: true, capture_method: "automatic",
    metadata: { payment, cart } };
  const events = [], onEvent = world.onEvent;
  world.onEvent = (event) => events.push(event);
  const made = intents["POST /v1/payment_intents"]({ world, params, script: {} });
  if (ends === "refunded") refunds["POST /v1/refunds"]({ world, params: { payment_intent: made.id, amount: 100 }, script: {} });
  world.onEvent = onEvent;
  const told = events.findLast((event) => event.type === TOLD[ends]);
  for (const event of events) world.remove(event.id); // none is there to be polled for: the shop would have it before it is sent
  return { ref: made.id, charge: made.latest_charge, body: JSON.stringify(told) };
}

// ---- answers that are prepared ------------------------------------------------------------------

const HEAD_END = "\r\n\r\n";

/** The double, and before it a server that only gives out bytes. Who asks it for anything else is the double's from then on. */
class Prepared {
  #answers = new Map(); // by "GET /path?query"

  constructor(double) {
    this.double = double;
    double.server.prependListener("request", (_, answer) => (answer.shouldKeepAlive = false)); // the next one comes to us again
    this.server = net.createServer({ noDelay: true }, (socket) => this.#take(socket));
  }

  async listen() {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  async fill(paths) {
    const left = this.#answers.size;
    this.#answers.clear();
    for (const path of paths) {
      const answer = await fetch(this.double.url + path, { headers: { authorization: `Bearer ${this.double.key}` } });
      const body = Buffer.from(await answer.text());
      if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${body}`);
      const head = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
      this.#answers.set(`GET ${path}`, Buffer.concat([Buffer.from(head), body]));
    }
    return left;
  }

  /** One request at a time and without a body, as those have that we know. */
  #take(socket) {
    let text = "";
    const onData = (piece) => {
      text += piece.toString("latin1");
      const answer = this.#answers.get(text.slice(0, text.indexOf(" HTTP/1.1\r\n")));
      if (answer && !text.endsWith(HEAD_END)) return;
      if (answer) {
        this.#answers.delete(text.slice(0, text.indexOf(" HTTP/1.1\r\n")));
        text = "";
        return socket.write(answer);
      }
      socket.off("data", onData);
      socket.off("error", onError);
      socket.pause();
      socket.unshift(Buffer.from(text, "latin1"));
      this.double.server.emit("connection", socket);
      socket.resume();
    };
    const onError = () => socket.destroy();
    socket.on("data", onData);
    socket.on("error", onError);
  }
}

async function serve() {
  const at = (name) => import(new URL(`../../doubles/stripe/${name}.mjs`, import.meta.url));
  const [{ StripeDouble }, { intents }, { refunds }] = await Promise.all(["double", "intents", "refunds"].map(at));
  const double = await StripeDouble.start(), prepared = new Prepared(double), url = await prepared.listen();
  const act = async ({ list, paths }) => list ? list.map((one) => payOne({ world: double.world, intents, refunds }, one)) : prepared.fill(paths);
  process.on("message", async (wish) => process.send(await act(wish)));
  process.on("disconnect", () => process.exit());
  process.send({ url, key: double.key });
}

if (process.argv[2] === "serve") await serve();
