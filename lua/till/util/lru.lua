-- till/util/lru - a map that forgets what was used long ago, and what is too old.
--
--   lru.new(max)               at most `max` entries
--   m:get(key, now) -> value   nil when absent or when its time is over
--   m:set(key, value, until_)  `until_` in the unit of `now`
--   m:drop(key), m:clear(), m:count()      of entries, whatever their age
--
-- A doubly linked ring of nodes, from `head.next` on. To move one to the front costs more than to
-- find it, so what is used goes there only where half as many as there is room for may have passed
-- it: what is forgotten was not used while as many others went in front. What is too old leaves its
-- node for its successor. Time is an argument.
local lru = {}
lru.__index = lru


function lru.new(max)
  if type(max) ~= "number" or max < 1 then error("lru.new needs a positive size", 2) end
  local head = {}
  head.next, head.prev = head, head
  return setmetatable({ max = max, size = 0, nodes = {}, head = head, moves = 0,
    half = math.floor(max / 2) }, lru)
end


local function unlink(node)
  node.prev.next, node.next.prev = node.next, node.prev
end


local function to_front(self, node)
  local head = self.head
  node.prev, node.next = head, head.next
  head.next.prev, head.next = node, node
  self.moves = self.moves + 1
  node.moved = self.moves
end


local function remove(self, node)
  unlink(node)
  self.nodes[node.key] = nil
  self.size = self.size - 1
end


function lru:get(key, now)
  local node = self.nodes[key]
  if not node then return nil end
  if now >= node.until_ then
    node.value = nil
    return nil
  end
  if self.moves - node.moved >= self.half and self.head.next ~= node then
    unlink(node)
    to_front(self, node)
  end
  return node.value
end


function lru:set(key, value, until_)
  local node = self.nodes[key]
  if node then
    unlink(node)
  else
    if self.size >= self.max then remove(self, self.head.prev) end
    node = { key = key, value = value, until_ = until_, moved = 0, prev = false, next = false }
    self.nodes[key] = node
    self.size = self.size + 1
  end
  node.value, node.until_ = value, until_
  to_front(self, node)
end


function lru:drop(key)
  local node = self.nodes[key]
  if node then remove(self, node) end
end


function lru:clear()
  self.nodes, self.size = {}, 0
  self.head.next, self.head.prev = self.head, self.head
end


function lru:count()
  return self.size
end


return lru
