local t = require "till.test"
local capabilities = require "till.plugin.capabilities"


local function owner(list, config)
  return { manifest = { name = "promo-x", capabilities = list }, config = config or {} }
end


t.describe("the capabilities of a plugin", function()
  t.table({
    { why = "a host without a name", given = { "http" }, message = "say which host" },
    { why = "what there is not", given = { "file" }, message = "there is no capability file" },
    { why = "an option that is not declared", given = { "http:config.url" },
      message = "`config` declares no option url" },
    { why = "all secrets", given = { "secrets" }, message = "say which" },
  }, function(case)
    local _, why = capabilities.check { capabilities = case.given }
    t.ok(why and why:find(case.message, 1, true), why)
  end)

  t.it("may name an option that is declared", function()
    t.equal(capabilities.check { capabilities = { "http:config.url" },
      config = { url = { type = "string" } } }, nil)
  end)

  t.describe("let a request go", function()
    local all = owner({ "http:api.example.com", "http:127.0.0.1:8080", "http:*.example.org",
      "http:config.urls", "http:[::1]" },
        { urls = { "https://one.example", "http://two.example:1/x" } })
    t.table({
      { why = "to the host", url = "https://api.example.com/v1", goes = true },
      { why = "in capitals", url = "HTTPS://API.Example.COM", goes = true },
      { why = "to any port of it", url = "http://api.example.com:8443/", goes = true },
      { why = "to the port that was named", url = "http://127.0.0.1:8080/", goes = true },
      { why = "below a wildcard", url = "https://a.b.example.org/", goes = true },
      { why = "where an option says so", url = "http://two.example/", goes = true },
      { why = "to IPv6", url = "http://[::1]:80/", goes = true },
      { why = "but to no other port", url = "http://127.0.0.1:8081/", goes = false },
      { why = "but not to the wildcard's own name", url = "https://example.org/", goes = false },
      { why = "but not to a longer name",
        url = "https://api.example.com.evil.example/", goes = false },
      { why = "but not to a name that ends alike", url = "https://evilexample.org/", goes = false },
      { why = "but not past a user", url = "https://api.example.com@evil.example/", goes = false },
      { why = "but not past a backslash",
        url = "https://evil.example\\@api.example.com/", goes = false },
      { why = "but not past a fragment",
        url = "https://evil.example#api.example.com", goes = false },
      { why = "but not by another scheme",
        url = "file://api.example.com/etc/passwd", goes = false },
      { why = "but not without a scheme", url = "api.example.com", goes = false },
      { why = "but not to nowhere", url = nil, goes = false },
    }, function(case)
      t.equal(capabilities.allows_url(all, case.url) == true, case.goes)
    end)
  end)

  t.describe("let a statement go", function()
    local some = owner { "sql:one", "sql:two" }
    t.table({
      { why = "on its tables",
        text = "SELECT a FROM one JOIN `two` ON one.a = two.a", goes = true },
      { why = "in a list of them",
        text = "SELECT a FROM one x, two y WHERE x.a = y.a", goes = true },
      { why = "that inserts", text = "INSERT IGNORE INTO one (a, b) VALUES (?, ?)", goes = true },
      { why = "that inserts or updates",
        text = "INSERT INTO one (a) VALUES (?) ON DUPLICATE KEY UPDATE a = ?", goes = true },
      { why = "that locks", text = "SELECT a FROM one FOR UPDATE SKIP LOCKED", goes = true },
      { why = "with a text that looks like one",
        text = "SELECT 'from orders' FROM one", goes = true },
      { why = "on none", text = "SELECT 1", goes = true },
      { why = "but on no other", text = "SELECT a FROM orders", goes = false },
      { why = "nor in a list", text = "SELECT a FROM one, orders", goes = false },
      { why = "nor inside", text = "SELECT (SELECT total FROM orders) FROM one", goes = false },
      { why = "nor behind a comment", text = "UPDATE/* one */orders SET a = 1", goes = false },
      { why = "nor of another database", text = "DELETE FROM mysql.user", goes = false },
      { why = "nor of another database, spread out",
        text = "DELETE FROM one . `user`", goes = false },
      { why = "on an alias, and what follows",
        text = "SELECT a FROM one AS `where` JOIN two USING (a) WHERE f(a, b) = 1 ORDER BY a, b",
        goes = true },
      { why = "that inserts what it selects", text = "INSERT INTO one (a, b) SELECT a, b FROM two"
        .. " ON DUPLICATE KEY UPDATE a = 1, b = VALUES(b)", goes = true },
      { why = "that cuts text", text = "SELECT REPLACE(a, 'x', 'y') FROM one", goes = true },
      { why = "that makes one",
        text = "CREATE TABLE IF NOT EXISTS one (a INT, b INT)", goes = true },
      { why = "but in no comment that the server runs",
        text = "SELECT a FROM one /*! UNION SELECT a FROM orders */", goes = false },
      { why = "nor in one of MariaDB's",
        text = "SELECT a FROM one /*M! UNION SELECT a FROM orders */", goes = false },
      { why = "nor behind a comment that stands in a text",
        text = "SELECT '/*' FROM orders WHERE '*/' = ''", goes = false },
      { why = "nor behind a quote that is escaped",
        text = "SELECT 'a\\'', a FROM orders WHERE b = '", goes = false },
      { why = "nor behind a condition of a join",
        text = "SELECT 1 FROM one JOIN two ON 1, orders", goes = false },
      { why = "nor behind the columns of a join",
        text = "SELECT 1 FROM one JOIN two USING (a), orders", goes = false },
      { why = "nor in brackets", text = "SELECT 1 FROM one JOIN (two, orders)", goes = false },
      { why = "nor behind brackets", text = "SELECT 1 FROM (one), orders", goes = false },
      { why = "nor behind an alias that looks like a word of SQL",
        text = "SELECT 1 FROM one AS `where`, orders", goes = false },
      { why = "nor behind a number", text = "SELECT 1.FROM orders", goes = false },
      { why = "nor behind half a number", text = "SELECT .1FROM orders", goes = false },
      { why = "nor without INTO", text = "REPLACE orders VALUES (1)", goes = false },
      { why = "nor with USING", text = "DELETE FROM one USING one JOIN orders", goes = false },
      { why = "nor all of it", text = "TRUNCATE orders", goes = false },
      { why = "nor two", text = "DROP TABLE one, orders", goes = false },
      { why = "nor as a second statement", text = "SELECT 1; DELETE FROM one", goes = false },
      { why = "nor by another verb", text = "CALL steal()", goes = false },
      { why = "nor by its definition", text = "SHOW CREATE TABLE orders", goes = false },
      { why = "nor by a view", text = "CREATE VIEW one AS SELECT 1", goes = false },
      { why = "nor into a file", text = "SELECT a FROM one INTO OUTFILE '/tmp/x'", goes = false },
      { why = "nor what is no text", text = {}, goes = false },
    }, function(case)
      t.equal(capabilities.allows_statement(some, case.text) == true, case.goes)
    end)

    t.it("on any table where none is named", function()
      t.equal(capabilities.allows_statement(owner { "sql" }, "SELECT a FROM orders"), true)
    end)
  end)

  t.it("read the secrets of its options and those that are named, and no others", function()
    local some = owner({ "secrets:SMTP_KEY" }, { nested = { key = { ["$env"] = "MINE" } } })
    t.equal(capabilities.allows_secret(some, { ["$env"] = "MINE" }), true)
    t.equal(capabilities.allows_secret(some, { ["$env"] = "SMTP_KEY" }), true)
    local good, why = capabilities.allows_secret(some, { ["$env"] = "OTHER" })
    t.equal(good, nil)
    t.ok(why:find('"secrets:OTHER"', 1, true), why)
    t.equal(capabilities.allows_secret(some, { ["$file"] = "/etc/shadow" }), nil)
  end)
end)
