// A shop as simple as can be, to hold the real one against: stock, carts, what they hold, orders.
//
// An operation is a list of steps, each of which happens at one moment. A step takes a state and gives what may come of
// it: [{ state, answer }] ends the operation with that answer, [{ state }] goes on to the next step; [] is not possible
// now (somebody completes this cart: it waits). Several outcomes where the shop may choose. Of operations that ran at
// once, some order of their steps must explain all answers: explain() finds every state that they may have led to.

export const PRICES = [1000, 1500, 700];
const PERCENT = 13; // no sum with it is the same as another one without, in carts as small as these

/** What a world begins with. */
export function initial({ carts, stock, uses }) {
  return { stock, uses, used: 0, carts: Array.from({ length: carts }, emptyCart), left: [], orders: [] };
}

const emptyCart = (_, number) => ({ number, lines: {}, state: "open", held: {}, hasCode: false, isReduced: false, sessions: [] });

const clone = (state) => structuredClone(state);
const one = (state, answer) => [{ state, answer }];
const isEmpty = (lines) => Object.keys(lines).length === 0;
const isSame = (a, b) => Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([v, q]) => b[v] === q);

export function totalsOf(cart) {
  const subtotal = Object.entries(cart.lines).reduce((sum, [v, q]) => sum + PRICES[v] * q, 0);
  return { subtotal, isReduced: cart.isReduced && subtotal > 0 };
}

const dueFor = (cart) => JSON.stringify(totalsOf(cart));

const heldBy = (carts, v) => carts.reduce((sum, c) => sum + (c.held[v] ?? 0), 0);
const allCarts = (state) => [...state.carts, ...state.left];
export const reservedOf = (state, v) => heldBy(allCarts(state), v);

/** The code gives something while it has uses left; afterwards a worker may believe so for a moment. */
function priced(state, c) {
  const out = [];
  for (const isReduced of state.carts[c].hasCode && !isEmpty(state.carts[c].lines) ? [true, false] : [false]) {
    if (!isReduced && state.carts[c].hasCode && !isEmpty(state.carts[c].lines) && state.used < state.uses) continue;
    const next = clone(state);
    next.carts[c].isReduced = isReduced;
    out.push(next);
  }
  return out;
}

function edit(op, fn) {
  return [(state) => {
    const cart = state.carts[op.cart];
    if (cart.state === "completing") return [];
    if (cart.state === "completed") return one(state, { status: 409, code: "cart_completed" });
    const next = clone(state);
    const refusal = fn(next.carts[op.cart]);
    if (refusal) return one(state, refusal);
    return priced(next, op.cart).map((s) => ({ state: s, answer: shown(s.carts[op.cart]) }));
  }];
}

const shown = (cart) => ({ status: 200, lines: { ...cart.lines }, ...totalsOf(cart) });

/**
 * Everything in the cart or nothing: what may come of it, null being that it is sold out. What the time of others has
 * run out for is there for him who needs it, unless they, or the job, are at it just now.
 */
function hold(state, c) {
  const next = clone(state), cart = next.carts[c], others = allCarts(next).filter((o) => o !== cart);
  let isSure = true;
  for (const [v, q] of Object.entries(cart.lines)) {
    if (next.stock[v] - heldBy(others, v) >= q) continue;
    const lapsed = others.filter((o) => o.isLapsed);
    if (next.stock[v] - heldBy(others, v) + heldBy(lapsed, v) < q) return [null];
    for (const o of lapsed) delete o.held[v];
    isSure = false;
  }
  cart.held = { ...cart.lines };
  cart.isLapsed = false;
  return isSure ? [next] : [next, null];
}

/** What is held after a refusal: as before, or let go. */
function refusedWith(state, c, answer, before) {
  return [before ?? state.carts[c].held, {}].map((held) => {
    const next = clone(state);
    Object.assign(next.carts[c], { state: "open", held: { ...held } });
    return { state: next, answer };
  });
}

const cartError = (code) => ({ kind: "cart", code });

/** The attempt that a completion takes: the newest that fits, else the newest refused one that does. */
function attemptOf(cart) {
  const fits = cart.sessions.filter((s) => s.due === dueFor(cart)).reverse();
  return fits.find((s) => ["created", "requires_action"].includes(s.state)) ?? fits.find((s) => s.state === "declined");
}

/** What does not fit, and what is older, is let go of. */
function pick(cart) {
  const chosen = attemptOf(cart);
  for (const s of cart.sessions) if (s !== chosen && s.state !== "declined") s.state = "voided";
  return chosen;
}

function begin(state, op) {
  const cart = state.carts[op.cart];
  if (cart.state === "completing") return [];
  if (cart.state === "completed") return one(state, { kind: "order", cart: cart.number });
  if (isEmpty(cart.lines)) return one(state, { status: 422, code: "cart_incomplete" });
  const out = [];
  if (cart.isReduced && state.used >= state.uses) {
    const next = clone(state);
    next.carts[op.cart].isReduced = false;
    out.push(...one(next, cartError("price_changed")));
  } else if (cart.hasCode && !cart.isReduced && state.used < state.uses) {
    const next = clone(state); // an order with it was cancelled
    next.carts[op.cart].isReduced = true;
    return one(next, cartError("price_changed"));
  }
  const before = cart.held;
  const isHeld = isSame(cart.held, cart.lines) && !cart.isLapsed;
  for (const held of isHeld ? [clone(state)] : hold(state, op.cart)) {
    if (held) Object.assign(held.carts[op.cart], { state: "completing", before });
    out.push(...(held ? [{ state: held }] : refusedWith(state, op.cart, cartError("sold_out"))));
  }
  return out;
}

function place(state, c) {
  const next = clone(state), cart = next.carts[c];
  for (const [v, q] of Object.entries(cart.lines)) next.stock[v] -= q;
  if (cart.isReduced) ++next.used;
  const order = { cart: cart.number, lines: { ...cart.lines }, ...totalsOf(cart) };
  next.orders.push({ ...order, isCancelled: false, gone: {}, sent: {}, back: {} });
  next.orders.sort((a, b) => a.cart - b.cart);
  Object.assign(cart, { state: "completed", held: {} });
  return one(next, { kind: "order", ...order });
}

function end(state, op) {
  const s = clone(state), cart = s.carts[op.cart], before = cart.before;
  delete cart.before;
  const payment = pick(cart);
  if (!payment) return refusedWith(s, op.cart, { status: 422, code: "cart_incomplete" }, before);
  if (payment.token === "tok_declined") {
    payment.state = "declined";
    return refusedWith(s, op.cart, cartError("payment_declined"), before);
  }
  if (payment.token === "tok_requires_action" && !(payment.state === "requires_action" && op.isConfirmed)) {
    payment.state = "requires_action";
    return refusedWith(s, op.cart, cartError("payment_requires_action"), { ...cart.lines });
  }
  if (cart.isReduced && s.used >= s.uses) { // the last use went to somebody else meanwhile
    payment.state = "voided";
    return refusedWith(s, op.cart, cartError("promotion_refused"), before);
  }
  return place(s, op.cart);
}

const sum = (units) => Object.values(units).reduce((all, n) => all + n, 0);
const leftOf = (order, v) => (order.lines[v] ?? 0) - (order.gone[v] ?? 0) - (order.sent[v] ?? 0);

/** What is left of an order goes back, and with it the use of its code. */
function cancelled(state, at) {
  const out = [];
  for (const givesBack of state.orders[at].isReduced ? [true, false] : [false]) {
    const next = clone(state), order = next.orders[at];
    order.isCancelled = true;
    for (const v of Object.keys(order.lines)) next.stock[v] += leftOf(order, v);
    if (givesBack) --next.used;
    out.push({ state: next, answer: { status: 200 } });
  }
  return out;
}

/** One unit of a variant of an order, where it has one that this may be done with. */
function unit(op, fn) {
  return [(state) => {
    if (!op.isThere) return one(state, { status: 0 });
    const at = state.orders.findIndex((o) => o.cart === op.number);
    return fn(state, at, op.variant) ?? one(state, { status: 409, code: "conflict" });
  }];
}

const STEPS = {
  cart: (op) => [(state) => {
    if (state.carts[op.cart].state === "completing") return [];
    const next = clone(state);
    next.left.push(next.carts[op.cart]); // whoever leaves his cart leaves what it holds as it is
    next.carts[op.cart] = emptyCart(null, op.number);
    return one(next, { status: 201 });
  }],
  add: (op) => edit(op, (cart) => {
    cart.lines[op.variant] = (cart.lines[op.variant] ?? 0) + op.quantity;
  }),
  set: (op) => {
    const missing = { status: 404, code: "not_found" };
    const [change] = edit(op, (cart) => {
      if (!cart.lines[op.variant] || op.isStale) return missing;
      if (op.quantity === 0) delete cart.lines[op.variant];
      else cart.lines[op.variant] = op.quantity;
    });
    // the line may have been taken out and put in again by those who are at the cart as well: it has another id then
    return [(state) => [...change(state), ...(op.isShared && state.carts[op.cart].state === "open" ? one(state, missing) : [])]];
  },
  code: (op) => [(state) => {
    const cart = state.carts[op.cart];
    if (cart.state === "completing") return [];
    if (cart.state === "completed") return one(state, { status: 409, code: "cart_completed" });
    if (cart.hasCode) return edit(op, () => {})[0](state);
    const refused = one(state, { status: 422, code: "promotion_refused" });
    if (isEmpty(cart.lines)) return refused;
    const next = clone(state);
    next.carts[op.cart].hasCode = true;
    const taken = priced(next, op.cart).filter((s) => s.carts[op.cart].isReduced)
      .map((s) => ({ state: s, answer: shown(s.carts[op.cart]) }));
    return state.used < state.uses ? taken : [...refused, ...taken];
  }],
  pay: (op) => [(state) => {
    const cart = state.carts[op.cart];
    if (cart.state === "completing") return [];
    if (cart.state === "completed") return one(state, { status: 409, code: "cart_completed" });
    if (isEmpty(cart.lines)) return one(state, { status: 422, code: "cart_incomplete" });
    return hold(state, op.cart).flatMap((next) => {
      if (!next) return one(state, { status: 409, code: "sold_out" });
      next.carts[op.cart].sessions.push({ due: dueFor(cart), token: op.token, state: "created" });
      return one(next, { status: 201 });
    });
  }],
  complete: (op) => [(state) => begin(state, op), (state) => end(state, op)],
  adjust: (op) => [(state) => {
    const there = state.stock[op.variant];
    if (op.expected !== undefined && op.expected !== there) return one(state, { status: 412, code: "precondition_failed" });
    const next = clone(state);
    next.stock[op.variant] += op.delta;
    const done = { status: 201, before: there, on_hand: there + op.delta };
    const firm = heldBy(allCarts(state).filter((c) => !c.isLapsed), op.variant), all = reservedOf(state, op.variant);
    const refused = one(state, { status: 409, code: "conflict" });
    if (next.stock[op.variant] < firm) return refused;
    return next.stock[op.variant] < all ? [...refused, ...one(next, done)] : one(next, done);
  }],
  cancel: (op) => [(state) => {
    if (!op.isThere) return one(state, { status: 0 });
    const at = state.orders.findIndex((o) => o.cart === op.number), order = state.orders[at];
    if (order.isCancelled) return [...one(state, { status: 409 }), ...one(state, { status: 200 })];
    return sum(order.sent) > 0 ? one(state, { status: 409, code: "conflict" }) : cancelled(state, at);
  }],
  part: (op) => unit(op, (state, at, v) => {
    const order = state.orders[at];
    if (order.isCancelled || leftOf(order, v) < 1) return null;
    if (sum(order.sent) === 0 && sum(order.lines) - sum(order.gone) === 1) return cancelled(state, at);
    const next = clone(state);
    next.orders[at].gone[v] = (order.gone[v] ?? 0) + 1;
    ++next.stock[v];
    return one(next, { status: 200 });
  }),
  send: (op) => unit(op, (state, at, v) => {
    const order = state.orders[at];
    if (order.isCancelled || leftOf(order, v) < 1) return null;
    const next = clone(state);
    next.orders[at].sent[v] = (order.sent[v] ?? 0) + 1;
    return one(next, { status: 201 });
  }),
  giveBack: (op) => unit(op, (state, at, v) => {
    const order = state.orders[at];
    if ((order.sent[v] ?? 0) - (order.back[v] ?? 0) < 1) return null;
    const next = clone(state);
    next.orders[at].back[v] = (order.back[v] ?? 0) + 1;
    if (op.isFit) ++next.stock[v];
    return one(next, { status: 201 });
  }),
  // the time of what it holds is over; the jobs worker lets go of it, unless the shopper comes first
  lapse: (op) => [(state) => {
    const next = clone(state);
    if (!isEmpty(next.carts[op.cart].held)) next.carts[op.cart].isLapsed = true;
    return [{ state: next }];
  }, (state) => {
    if (state.carts[op.cart].state === "completing") return [];
    const next = clone(state);
    if (next.carts[op.cart].isLapsed) Object.assign(next.carts[op.cart], { held: {}, isLapsed: false });
    return one(next, { status: 0 });
  }],
};

/** Is this what the model says? What the model leaves open is not looked at. */
function agrees(wanted, seen) {
  return Object.entries(wanted).every(([name, value]) => value === undefined ||
    (typeof value === "object" ? isSame(value, seen[name] ?? {}) : value === seen[name]));
}

/**
 * Every state that `ops`, at once, may lead to from one of `states` with the answers that were seen; none: the shop has
 * done what no order of their steps explains.
 */
export function explain(states, ops, answers) {
  const found = new Map(), known = new Set();
  const steps = ops.map((op) => STEPS[op.do](op));

  function walk(state, at) {
    const key = JSON.stringify([at, state]);
    if (known.has(key)) return;
    known.add(key);
    if (at.every((n, i) => n === steps[i].length)) found.set(JSON.stringify(state), state);
    steps.forEach((list, i) => {
      if (at[i] === list.length) return;
      for (const { state: next, answer } of list[at[i]](state)) {
        if (answer && !agrees(answer, answers[i])) continue;
        walk(next, at.map((n, k) => (k !== i ? n : answer ? list.length : n + 1)));
      }
    });
  }

  for (const state of states) walk(state, steps.map(() => 0));
  return [...found.values()];
}
