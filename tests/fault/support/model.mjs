// A shop as simple as can be, to hold the real one against: stock, carts, what they hold, orders.
//
// An operation is a list of steps, each of which happens at one moment. A step takes a state and gives what may come of
// it: [{ state, answer }] ends the operation with that answer, [{ state }] goes on to the next step; [] is not possible
// now (somebody completes this cart: it waits). Several outcomes where the shop may choose. Of operations that ran at
// once, some order of their steps must explain all answers: explain() finds every state that they may have led to.
//
// What is in stock lies at two locations. What of a SKU is not there may be promised, as its policy says; units that come
// go to the orders that wait for them, at any moment, and have gone there when nothing is under way any more. A bundle is
// its parts. Units that somebody holds, or was sold, are { "line/SKU/location": how many }; the location is PROMISED where
// they are not there yet. From where the shop takes them it may choose: from any location that has all of a line, else from
// both, the first one first.

export const PRICES = [1000, 1500, 700, 2300, 3100];
export const SKUS = [0, 1, 2]; // those with units of their own
export const LOCATIONS = [0, 1];
export const PARTS = { 3: [[0, 1], [1, 1]], 4: [[1, 2], [2, 1]] }; // bundle -> its SKUs, and how many of each
const PROMISED = "p";
const PERCENT = 13; // no sum with it is the same as another one without, in carts as small as these

/** What a world begins with. */
export function initial({ carts, stock, policies, uses }) {
  return { stock, policies, uses, used: 0, carts: Array.from({ length: carts }, emptyCart), left: [], orders: [] };
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

// ---- units --------------------------------------------------------------------------------------

const keyOf = (line, sku, location) => `${line}/${sku}/${location}`;
const partsOf = (line) => PARTS[line] ?? [[Number(line), 1]];

function change(units, key, n) {
  units[key] = (units[key] ?? 0) + n;
  if (units[key] === 0) delete units[key];
}

/** How many of them are of this SKU, at this location. */
const unitsAt = (units, sku, location) =>
  Object.entries(units).reduce((sum, [key, n]) => (key.endsWith(`/${sku}/${location}`) ? sum + n : sum), 0);
const heldBy = (carts, sku, location) => carts.reduce((sum, c) => sum + unitsAt(c.held, sku, location), 0);
const allCarts = (state) => [...state.carts, ...state.left];
export const reservedOf = (state, sku, location) => heldBy(allCarts(state), sku, location);
export const promisedOf = (state, sku) =>
  reservedOf(state, sku, PROMISED) + state.orders.reduce((sum, o) => sum + unitsAt(o.units, sku, PROMISED), 0);
const freeAt = (state, sku, location) => state.stock[sku][location] - reservedOf(state, sku, location);

/** Units of an order's line that cannot be sent yet: of a bundle as many as the part lacks of which most is missing. */
export const lackOf = (order, line) =>
  Math.max(...partsOf(line).map(([sku, per]) => Math.ceil((order.units[keyOf(line, sku, PROMISED)] ?? 0) / per)));

const itemsOf = (lines) => Object.entries(lines).flatMap(([line, q]) => partsOf(line).map(([sku, per]) => ({ line, sku, n: per * q })));

/** Exactly these are held, wherever. */
function isHeld(held, lines) {
  const wanted = {}, there = {};
  for (const { line, sku, n } of itemsOf(lines)) change(wanted, `${line}/${sku}`, n);
  for (const [key, n] of Object.entries(held)) change(there, key.slice(0, key.lastIndexOf("/")), n);
  return isSame(wanted, there);
}

/** Whatever may come of taking an item for a cart; nothing: it cannot be had. */
function take(state, c, { line, sku, n }) {
  const free = LOCATIONS.map((l) => freeAt(state, sku, l)), policy = state.policies[sku];
  const taken = (shares) => {
    const next = clone(state);
    for (const [location, some] of shares) if (some > 0) change(next.carts[c].held, keyOf(line, sku, location), some);
    return next;
  };
  const whole = LOCATIONS.filter((l) => free[l] >= n);
  if (whole.length > 0) return whole.map((l) => taken([[l, n]]));
  const first = Math.min(n, free[0]), second = Math.min(n - first, free[1]), rest = n - first - second;
  if (rest > 0 && (policy.policy === "deny" || promisedOf(state, sku) + rest > policy.limit)) return [];
  return [taken([[0, first], [1, second], [PROMISED, rest]])];
}

const permutations = (list) => (list.length < 2 ? [list]
  : list.flatMap((some, i) => permutations([...list.slice(0, i), ...list.slice(i + 1)]).map((rest) => [some, ...rest])));

/** Units that are free go to an order that waits: each way in which one of them may. */
function allotments(state) {
  const out = [];
  for (const sku of SKUS) for (const location of LOCATIONS) {
    if (freeAt(state, sku, location) < 1) continue;
    state.orders.forEach((order, at) => {
      for (const key of Object.keys(order.units)) {
        if (!key.endsWith(`/${sku}/${PROMISED}`)) continue;
        const next = clone(state), { units } = next.orders[at];
        change(units, key, -1);
        change(units, keyOf(key.split("/")[0], sku, location), 1);
        --next.stock[sku][location];
        out.push(next);
      }
    });
  }
  return out;
}

// ---- carts --------------------------------------------------------------------------------------

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

/** What the cart has no more it gives back: what is promised first, else from wherever it is. */
function trimmed(state, number) {
  const at = allCarts(state).findIndex((cart) => cart.number === number), cart = allCarts(state)[at], wanted = {};
  if (cart.state !== "open") return [clone(state)];
  for (const { line, sku, n } of itemsOf(cart.lines)) change(wanted, `${line}/${sku}`, n);
  let found = [clone(state)];
  for (const group of new Set(Object.keys(cart.held).map((key) => key.slice(0, key.lastIndexOf("/"))))) {
    found = found.flatMap((s) => permutations(LOCATIONS).map((locations) => {
      const next = clone(s), { held } = allCarts(next)[at], keys = [PROMISED, ...locations].map((l) => `${group}/${l}`);
      let surplus = keys.reduce((all, key) => all + (held[key] ?? 0), 0) - (wanted[group] ?? 0);
      for (const key of keys) {
        const gone = Math.min(surplus, held[key] ?? 0);
        if (gone > 0) change(held, key, -gone);
        if (gone > 0) surplus -= gone;
      }
      return next;
    }));
  }
  return found;
}

let edits = 0;

/** A change that leaves less: first it is saved, then units are given back, then it is answered. */
function withTrim(op, change) {
  const mine = ++edits;
  return [(state) => change(state).map(({ state: next, answer }) => {
    const { number, lines } = state.carts[op.cart];
    if (answer.status !== 200 || (lines[op.variant] ?? 0) <= op.quantity) return { state: next, answer };
    return { state: { ...next, told: { ...next.told, [mine]: { answer, number } } } };
  }), (state) => trimmed(state, state.told[mine].number).map((next) => {
    const { answer } = next.told[mine];
    delete next.told[mine];
    if (isEmpty(next.told)) delete next.told;
    return { state: next, answer };
  })];
}

const shown = (cart) => ({ status: 200, lines: { ...cart.lines }, ...totalsOf(cart) });

/**
 * Everything in the cart or nothing: what may come of it, null being that it is sold out. What the time of others has
 * run out for is there for him who needs it, unless they, or the job, are at it just now.
 */
function hold(state, c) {
  const items = itemsOf(state.carts[c].lines), out = [];
  for (const isSwept of allCarts(state).some((o) => o.isLapsed && o !== state.carts[c]) ? [true, false] : [false]) {
    const next = clone(state);
    Object.assign(next.carts[c], { held: {}, isLapsed: false });
    let found = [next];
    for (const sku of SKUS) {
      const some = items.filter((item) => item.sku === sku), wanted = some.reduce((sum, { n }) => sum + n, 0);
      if (isSwept) found = found.flatMap((s) => swept(s, c, sku, wanted)).flatMap((s) => promisesSwept(s, c, sku));
      found = found.flatMap((s) => permutations(some).flatMap((list) =>
        list.reduce((all, item) => all.flatMap((so) => take(so, c, item)), [s])));
    }
    out.push(...(found.length > 0 ? found : [null]));
  }
  return out;
}

/** Where there is too little of a SKU those whose time is over give theirs, one after the other until there is enough. */
function swept(state, c, sku, wanted) {
  if (LOCATIONS.reduce((sum, l) => sum + freeAt(state, sku, l), 0) >= wanted) return [state];
  const out = [];
  for (const [at, cart] of allCarts(state).entries()) {
    if (!cart.isLapsed || cart === state.carts[c]) continue;
    for (const key of Object.keys(cart.held)) {
      if (!LOCATIONS.some((l) => key.endsWith(`/${sku}/${l}`))) continue;
      const next = clone(state);
      delete allCarts(next)[at].held[key];
      out.push(...swept(next, c, sku, wanted));
    }
  }
  return out.length > 0 ? out : [state];
}

/** What is promised to those gives way as well where the limit is reached; of whom, and of how many, is left open. */
function promisesSwept(state, c, sku) {
  const out = [state];
  for (const [at, cart] of allCarts(state).entries()) {
    const key = cart.isLapsed && cart !== state.carts[c] && Object.keys(cart.held).find((one) => one.endsWith(`/${sku}/${PROMISED}`));
    if (!key) continue;
    const next = clone(state);
    delete allCarts(next)[at].held[key];
    out.push(...promisesSwept(next, c, sku));
  }
  return out;
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
  const isThere = isHeld(cart.held, cart.lines) && !cart.isLapsed;
  for (const held of isThere ? [clone(state)] : hold(state, op.cart)) {
    if (held) Object.assign(held.carts[op.cart], { state: "completing", before });
    out.push(...(held ? [{ state: held }] : refusedWith(state, op.cart, cartError("sold_out"))));
  }
  return out;
}

function place(state, c) {
  const next = clone(state), cart = next.carts[c];
  for (const sku of SKUS) for (const l of LOCATIONS) next.stock[sku][l] -= unitsAt(cart.held, sku, l);
  if (cart.isReduced) ++next.used;
  const order = { cart: cart.number, lines: { ...cart.lines }, ...totalsOf(cart) };
  next.orders.push({ ...order, units: cart.held, isCancelled: false, gone: {}, sent: {}, back: {} });
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
    return refusedWith(s, op.cart, cartError("payment_requires_action"), cart.held);
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
    for (const sku of SKUS) for (const l of LOCATIONS) next.stock[sku][l] += unitsAt(order.units, sku, l);
    order.units = {};
    if (givesBack) --next.used;
    out.push({ state: next, answer: { status: 200 } });
  }
  return out;
}

/** Units of a line are not wanted any more: those that are not there yet first, then from wherever they were taken. */
function givenUp(state, at, line) {
  let found = [state];
  for (const [sku, per] of partsOf(line)) {
    for (let i = 0; i < per; ++i) {
      found = found.flatMap((s) => {
        const { units } = s.orders[at], promised = keyOf(line, sku, PROMISED);
        return (units[promised] ? [PROMISED] : LOCATIONS.filter((l) => units[keyOf(line, sku, l)])).map((location) => {
          const next = clone(s);
          change(next.orders[at].units, keyOf(line, sku, location), -1);
          if (location !== PROMISED) ++next.stock[sku][location];
          return next;
        });
      });
    }
  }
  return found;
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
    return withTrim(op, (state) => [...change(state),
      ...(op.isShared && state.carts[op.cart].state === "open" ? one(state, missing) : [])]);
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
    // what it holds exactly it goes on to hold, be it promised only while there are units now
    const kept = isHeld(cart.held, cart.lines) && clone(state);
    if (kept) kept.carts[op.cart].isLapsed = false;
    return (kept ? [kept] : hold(state, op.cart)).flatMap((next) => {
      if (!next) return one(state, { status: 409, code: "sold_out" });
      next.carts[op.cart].sessions.push({ due: dueFor(cart), token: op.token, state: "created" });
      return one(next, { status: 201 });
    });
  }],
  complete: (op) => [(state) => begin(state, op), (state) => end(state, op)],
  adjust: (op) => [(state) => {
    const there = state.stock[op.sku][op.location];
    if (op.expected !== undefined && op.expected !== there) return one(state, { status: 412, code: "precondition_failed" });
    const next = clone(state);
    next.stock[op.sku][op.location] += op.delta;
    const done = { status: 201, before: there, on_hand: there + op.delta };
    const firm = heldBy(allCarts(state).filter((c) => !c.isLapsed), op.sku, op.location);
    const refused = one(state, { status: 409, code: "conflict" });
    if (there + op.delta < firm) return refused;
    return there + op.delta < reservedOf(state, op.sku, op.location) ? [...refused, ...one(next, done)] : one(next, done);
  }],
  policy: (op) => [(state) => {
    if (op.policy !== "deny" && promisedOf(state, op.sku) > op.limit) return one(state, { status: 409, code: "conflict" });
    const next = clone(state);
    next.policies[op.sku] = { policy: op.policy, limit: op.limit };
    return one(next, { status: 200 });
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
    return givenUp(state, at, v).map((next) => {
      next.orders[at].gone[v] = (order.gone[v] ?? 0) + 1;
      return { state: next, answer: { status: 200 } };
    });
  }),
  send: (op) => unit(op, (state, at, v) => {
    const order = state.orders[at];
    if (order.isCancelled || leftOf(order, v) - lackOf(order, v) < 1) return null;
    const next = clone(state);
    next.orders[at].sent[v] = (order.sent[v] ?? 0) + 1;
    return one(next, { status: 201 });
  }),
  giveBack: (op) => unit(op, (state, at, v) => {
    const order = state.orders[at];
    if ((order.sent[v] ?? 0) - (order.back[v] ?? 0) < 1) return null;
    const next = clone(state);
    next.orders[at].back[v] = (order.back[v] ?? 0) + 1;
    if (op.isFit) for (const [sku, per] of partsOf(v)) next.stock[sku][op.location] += per;
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
    const allotted = allotments(state);
    if (at.every((n, i) => n === steps[i].length) && allotted.length === 0) found.set(JSON.stringify(state), state);
    for (const next of allotted) walk(next, at);
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
