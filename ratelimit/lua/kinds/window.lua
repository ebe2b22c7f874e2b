-- window.lua: the letter 'w' (window): an exact log of the instants at which units were granted.
--
-- State   a list of stamps (us), newest first, one for each unit of cost
-- ARGV    COUNT, PERIOD (us), TTL_MS
-- LEVEL   stamps younger than PERIOD
--
-- Costs O(1) for each stamp that has run out since the last grant. Healed: stamps ahead of the clock (the clock
-- stepped back; all are moved back by as much), elements that are no stamps and values that are no list (removed).

-- The length of the list after it has been put right.
local function mend(key)
  local found = redis.pcall('LRANGE', key, 0, -1)
  local stamps = {}
  for _, element in ipairs(found.err and {} or found) do
    stamps[#stamps + 1] = tonumber(element)
  end
  local ahead = math.max((stamps[1] or 0) - now, 0)
  redis.call('DEL', key)
  for _, stamp in ipairs(stamps) do
    redis.call('RPUSH', key, string.format('%d', stamp - ahead))
  end
  return #stamps
end

local function stamp_at(key, index)
  return tonumber(redis.call('LINDEX', key, index))
end

-- When one more unit fits a log of `used` stamps; 0 when it fits now.
local function opening(key, p, used)
  local index = ARGV[p] - cost
  return used > index and (stamp_at(key, index) or now) + ARGV[p + 1] or 0
end

function measure.w(key, p)
  local used = redis.pcall('LLEN', key)
  if type(used) == 'table' then
    used = mend(key)
  elseif used > 0 then
    local newest = stamp_at(key, 0)
    if not newest or newest > now or not stamp_at(key, -1) then
      used = mend(key)
      redis.call('PEXPIRE', key, ARGV[p + 2])
    end
  end
  local horizon = now - ARGV[p + 1]
  while used > 0 and (stamp_at(key, used - 1) or 0) <= horizon do
    used = used - 1
  end
  local room = math.floor((ARGV[p] - used) / cost)
  if room < 1 then
    return 0, used, opening(key, p, used), p + 3
  end
  return room, used, 0, p + 3
end

function charge.w(key, p, used, granted)
  local stamp = string.format('%d', now)
  for _ = 1, granted * cost do
    redis.call('LPUSH', key, stamp)
  end
  used = used + granted * cost
  redis.call('LTRIM', key, 0, used - 1)
  redis.call('PEXPIRE', key, ARGV[p + 2])
  return used, opening(key, p, used), p + 3
end
