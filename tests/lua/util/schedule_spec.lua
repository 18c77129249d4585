local t = require "till.test"
local clock = require "till.util.clock"
local schedule = require "till.util.schedule"


local function next_of(text, after)
  return clock.format(schedule.next(assert(schedule.parse(text)), clock.parse(after)))
end


local NEXT = {
  { "every minute", "2026-11-29T10:00:00.000Z", "2026-11-29T10:01:00.000Z" },
  { "every 15 minutes", "2026-11-29T10:00:00.000Z", "2026-11-29T10:15:00.000Z" },
  { "every 15 minutes", "2026-11-29T10:14:59.999Z", "2026-11-29T10:15:00.000Z" },
  { "every 6 hours", "2026-11-29T10:00:00.000Z", "2026-11-29T12:00:00.000Z" },
  { "every day", "2026-12-31T10:00:00.000Z", "2027-01-01T00:00:00.000Z" },
  { "10 3 * * *", "2026-11-29T03:10:00.000Z", "2026-11-30T03:10:00.000Z" },
  { "10 3 * * *", "2026-11-29T03:09:59.000Z", "2026-11-29T03:10:00.000Z" },
  { "*/20 * * * *", "2026-11-29T03:41:00.000Z", "2026-11-29T04:00:00.000Z" },
  { "5,35 8-10 * * *", "2026-11-29T10:35:00.000Z", "2026-11-30T08:05:00.000Z" },
  { "0 9 * * 1-5", "2026-11-27T09:00:00.000Z", "2026-11-30T09:00:00.000Z", "Friday to Monday" },
  { "0 9 * * 7", "2026-11-27T09:00:00.000Z", "2026-11-29T09:00:00.000Z", "7 is Sunday" },
  { "0 0 1 * *", "2026-11-29T00:00:00.000Z", "2026-12-01T00:00:00.000Z" },
  { "0 0 13 * 5", "2026-11-29T00:00:00.000Z", "2026-12-04T00:00:00.000Z", "either, as in cron" },
  { "0 0 */2 * 1", "2026-11-29T00:00:00.000Z", "2026-12-07T00:00:00.000Z", "both: a star" },
  { "30 12 29 2 *", "2026-11-29T00:00:00.000Z", "2028-02-29T12:30:00.000Z" },
  { "30 12 29 2 *", "2096-03-01T00:00:00.000Z", "2104-02-29T12:30:00.000Z", "2100 has none" },
}

local REFUSED = {
  { "every 0 minutes", "every 15 minutes" }, { "every fortnight", "every 15 minutes" },
  { "hourly", "every 15 minutes" }, { "60 * * * *", "minute is none of 0 to 59" },
  { "* 24 * * *", "hour is none of 0 to 23" }, { "* * 0 * *", "day is none of 1 to 31" },
  { "* * * 13 *", "month is none of 1 to 12" }, { "* * * * 8", "weekday is none of 0 to 7" },
  { "*/0 * * * *", "minute" }, { "5-3 * * * *", "minute" }, { ", * * * *", "minute" },
  { "1/ * * * *", "minute" }, { "0 0 30 2 *", "never comes" }, { "", "every 15 minutes" },
}


t.describe("till.util.schedule", function()
  t.it("knows what comes next", function()
    for _, row in ipairs(NEXT) do
      t.equal(next_of(row[1], row[2]), row[3], row[1] .. " " .. (row[4] or ""))
    end
  end)

  t.it("says what it does not understand", function()
    for _, row in ipairs(REFUSED) do
      local spec, why = schedule.parse(row[1])
      t.equal(spec, nil, row[1])
      t.ok(why:find(row[2], 1, true), row[1] .. ": " .. why)
    end
  end)

  t.it("always goes forward", function()
    for _, text in ipairs { "*/7 * * * *", "every 7 minutes", "1-59/13 */5 * * 2,4" } do
      local spec, at = schedule.parse(text), clock.parse("2026-11-29T10:03:21.123Z")
      for _ = 1, 200 do
        local following = schedule.next(spec, at)
        t.ok(following > at and following % 60000 == 0)
        at = following
      end
    end
  end)
end)
