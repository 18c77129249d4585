local t = require "till.test"
local live = require "tests.support.live"


local function dead(shop, aggregate, event_type)
  return assert(shop.sql.exec("INSERT INTO outbox (aggregate, type, payload, state, attempts,"
    .. " last_error) VALUES (?, ?, '{}', 'dead', 10, 'why')", aggregate, event_type)).insert_id
end


local function put(shop, text)
  assert(shop.sql.exec(text))
end


local function state(shop, id)
  return shop.sql.one("SELECT state, attempts, claim, settled_by, settled_why FROM outbox"
    .. " WHERE id = ?", id)
end


local function audited(shop, action)
  return shop.sql.query("SELECT subject, detail FROM audit_entries WHERE action = ? ORDER BY id",
    action)
end


t.describe("dead letters", function()
  t.it("are listed with their reason, by type where that is asked", live.test(function(shop)
    dead(shop, "a", "order.paid")
    dead(shop, "b", "mail.send")
    local _, body = shop.admin("GET", "/admin/v1/jobs/dead")
    t.same({ #body.data, body.data[1].type, body.data[1].last_error }, { 2, "mail.send", "why" })
    _, body = shop.admin("GET", "/admin/v1/jobs/dead?type=order.paid")
    t.same({ #body.data, body.data[1].aggregate }, { 1, "a" })
    _, body = shop.admin("GET", "/admin/v1/jobs")
    local rows = {}
    for _, row in ipairs(body.data) do rows[row.type] = row end
    t.same({ rows["order.paid"].dead, rows["order.paid"].pending, rows["order.paid"].priority },
      { 1, 0, 900 })
  end))

  t.it("are replayed with all their attempts, and it is audited", live.test(function(shop)
    local id = dead(shop, "a", "order.paid")
    local status = shop.admin("POST", ("/admin/v1/jobs/%d/replay"):format(id), {})
    t.equal(status, 202)
    t.same({ state(shop, id).state, state(shop, id).attempts }, { "pending", 0 })
    t.equal((shop.admin("POST", ("/admin/v1/jobs/%d/replay"):format(id), {})), 404)
    t.equal(audited(shop, "jobs.replay")[1].subject, "event:" .. id)
    t.equal(#audited(shop, "jobs.replay"), 1)
  end))

  t.it("are due when they are replayed, whatever the clock of the server says",
    live.test(function(shop)
      local id = dead(shop, "a", "order.paid")
      dead(shop, "b", "mail.send")
      shop.clock.skip_ms = 6 * 3600000
      shop.admin("POST", ("/admin/v1/jobs/%d/replay"):format(id), {})
      shop.admin("POST", "/admin/v1/jobs/replay", { type = "mail.send" })
      local due = shop.sql.one("SELECT COUNT(*) AS n FROM outbox WHERE state = 'pending'"
        .. " AND available_at <= NOW(3)")
      t.equal(due.n, 2)
    end))

  t.it("are discarded with who and why, and kept", live.test(function(shop)
    local id = dead(shop, "a", "order.paid")
    local at = ("/admin/v1/jobs/%d/discard"):format(id)
    t.equal((shop.admin("POST", at, {})), 422)
    t.equal((shop.admin("POST", at, { reason = "" })), 422)
    t.equal(state(shop, id).state, "dead")
    t.equal((shop.admin("POST", at, { reason = "sent by hand" })), 202)
    local row = state(shop, id)
    t.same({ row.state, row.settled_why }, { "discarded", "sent by hand" })
    t.ok(row.settled_by)
    local _, body = shop.admin("GET", "/admin/v1/jobs/discarded")
    t.same({ #body.data, body.data[1].settled_why }, { 1, "sent by hand" })
    _, body = shop.admin("GET", "/admin/v1/jobs/" .. id)
    t.equal(body.event.state, "discarded")
    t.equal((shop.admin("POST", ("/admin/v1/jobs/%d/replay"):format(id), {})), 404)
    t.equal((shop.admin("GET", "/admin/v1/jobs/99999")), 404)
    t.equal((shop.admin("GET", "/admin/v1/jobs/x")), 404)
  end))

  t.it("are settled by type, a thousand at a time", live.test(function(shop)
    shop.sql.exec("INSERT INTO outbox (aggregate, type, payload, state) SELECT CONCAT('a:', seq),"
      .. " 'mail.send', '{}', 'dead' FROM seq_1_to_1003")
    local other = dead(shop, "b", "order.paid")
    local _, body = shop.admin("POST", "/admin/v1/jobs/replay", { type = "mail.send" })
    t.same(body, { replayed = 1000, has_more = true })
    _, body = shop.admin("POST", "/admin/v1/jobs/discard", { type = "mail.send",
      reason = "too late" })
    t.same(body, { discarded = 3, has_more = false })
    t.equal(state(shop, other).state, "dead")
    t.equal(audited(shop, "jobs.discard")[1].subject, "type:mail.send")
    t.equal((shop.admin("POST", "/admin/v1/jobs/replay", {})), 422)
  end))

  t.it("and delivered ones are cleaned away when they are old, of every type",
    live.test(function(shop)
      for _, each in ipairs { "done", "discarded", "dead", "pending" } do
        for _, days in ipairs { 1, 8 } do
          shop.sql.exec("INSERT INTO outbox (aggregate, type, payload, state, available_at) VALUES"
            .. " (?, ?, '{}', ?, NOW(3) - INTERVAL ? DAY)", each .. days, "x." .. each, each, days)
        end
      end
      t.equal(shop.require("till.store.dead").purge(1000), true)
      local left = {}
      for _, row in ipairs(shop.sql.query("SELECT aggregate FROM outbox ORDER BY aggregate")) do
        left[#left + 1] = row.aggregate
      end
      t.same(left, { "dead1", "dead8", "discarded1", "done1", "pending1", "pending8" })
    end))

  t.it("are not cleaned away by a clock that is days ahead", live.test(function(shop)
    put(shop, "INSERT INTO outbox (aggregate, type, payload, state, available_at)"
      .. " VALUES ('a:1', 'x.y', '{}', 'done', NOW(3))")
    put(shop, "INSERT INTO idempotency_records (scope, idem_key, fingerprint, state, claim,"
      .. " created_at, claimed_until) VALUES ('s', 'k', '', 'done', 1, NOW(3), NOW(3))")
    put(shop, "INSERT INTO sessions (id, token_hash, staff_id, expires_at)"
      .. " SELECT 'i', 'h', id, NOW(3) + INTERVAL 1 DAY FROM staff LIMIT 1")
    put(shop, "INSERT INTO webhook_events (provider, event_id, type, subject, state, via, next_at,"
      .. " at, received_at, body) VALUES ('p', 'e', 't', 's', 'applied', 'poll', NOW(3), NOW(3),"
      .. " NOW(3), '')")
    local before = { #shop.sql.query "SELECT 1 FROM sessions",
      #shop.sql.query "SELECT 1 FROM webhook_events" }
    shop.clock.skip_ms = 100 * 86400000
    t.equal(shop.require("till.store.dead").purge(1000), true)
    assert(shop.require("till.store.sessions").purge(1000))
    assert(shop.require("till.store.webhooks").purge(90 * 86400000, 1000))
    shop.clock.skip_ms = 0
    t.equal(#shop.sql.query "SELECT 1 FROM outbox", 1)
    t.equal(#shop.sql.query "SELECT 1 FROM idempotency_records", 1)
    t.same({ #shop.sql.query "SELECT 1 FROM sessions",
      #shop.sql.query "SELECT 1 FROM webhook_events" }, before)
  end))

  t.it("are cleaned away however many there are, as long as there is time",
    live.test(function(shop)
    local function fill(n)
      shop.sql.exec "DELETE FROM outbox"
      for i = 1, n do
        shop.sql.exec("INSERT INTO outbox (aggregate, type, payload, state, available_at) VALUES"
          .. " (?, 'x.y', '{}', 'done', NOW(3) - INTERVAL 8 DAY)", "a:" .. i)
      end
    end
    local purge = shop.require("till.store.dead").purge
    fill(5)
    t.equal(purge(2, 60000), true)
    t.equal(#shop.sql.query "SELECT 1 FROM outbox", 0)
    fill(5)
    t.equal(purge(2), true)
    t.equal(#shop.sql.query "SELECT 1 FROM outbox", 3)
    local co = shop.require "till.prim.co"
    local closing = co.closing
    co.closing = function() return true end
    local ok = purge(2, 60000)
    co.closing = closing
    t.same({ ok, #shop.sql.query "SELECT 1 FROM outbox" }, { true, 1 }, "its generation ends")
  end))
end)
