-- refund.lua: undo a charge, on each limit only where that is known not to break the promise.
--
-- KEYS    one for each limit; with a permit, its key comes last
-- ARGV    LIMITS (how many), UNITS (to undo, the last ones granted), GRANTED, COST, AT (us, when charged); then for
--         each limit its letter and what the undo reads
-- Returns for each limit the units that were undone
--
-- The debt of a token bucket is taken back only while the state is still the one that the charge wrote: once another
-- charge has built on it, taking the time back would let two units closer together than the promise allows.

local limits, units, granted, cost, at =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local undo = {}

-- ARGV: INTERVAL, LEVEL (the debt after the charge)
function undo.t(key, p)
  local tat = at + ARGV[p + 1]
  if redis.pcall('GET', key) ~= string.format('%d %s %s', tat, ARGV[p], at) then
    return 0, p + 2
  end
  local given_back = units * cost * ARGV[p]
  redis.call('SET', key, string.format('%d %s %s', tat - given_back, ARGV[p], at), 'KEEPTTL')
  return units, p + 2
end

-- ARGV: none. Stamps are alike, so any of that instant is the right one.
function undo.w(key, p)
  local removed = redis.pcall('LREM', key, units * cost, at)
  return type(removed) == 'number' and math.floor(removed / cost) or 0, p
end

-- ARGV: for each granted unit MEMBER and BEFORE (the instant that stood there before; 0: the member was not in)
function undo.d(key, p)
  local undone = 0
  for unit = granted, granted - units + 1, -1 do
    local member, before = ARGV[p + 2 * unit - 2], ARGV[p + 2 * unit - 1]
    local last = redis.pcall('ZSCORE', key, member)
    if type(last) == 'string' and tonumber(last) == tonumber(at) then
      if before == '0' then
        redis.call('ZREM', key, member)
      else
        redis.call('ZADD', key, before, member)
      end
      undone = undone + 1
    end
  end
  return undone, p + 2 * granted
end

-- ARGV: none. Nothing was charged.
function undo.u(_, p)
  return units, p
end

local reply, p = {}, 6
for i = 1, limits do
  reply[i], p = undo[ARGV[p]](KEYS[i], p + 1)
end
if KEYS[limits + 1] then
  redis.call('DEL', KEYS[limits + 1])
end
return reply
