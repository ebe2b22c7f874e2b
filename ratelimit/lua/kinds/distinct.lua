-- distinct.lua: the letter 'd' (distinct): how many different members were granted a unit in a moving period.
--
-- State   a sorted set: member -> the instant (us) of its last unit
-- ARGV    COUNT (members), PERIOD (us), TTL_MS; the members of the call stand at ARGV[5] and after
-- LEVEL   members whose last unit is younger than PERIOD
--
-- A member that is in already costs nothing, and stays in for another PERIOD. Healed: instants ahead of the clock
-- (the clock stepped back; they become now), and values that are no sorted set (removed).

local function horizon(p)
  return string.format('(%d', now - ARGV[p + 1])
end

-- When a new member fits; 0 when one fits now.
local function vacancy(key, p, used)
  local over = used - ARGV[p]
  if over < 0 then
    return 0
  end
  return redis.call('ZRANGEBYSCORE', key, horizon(p), '+inf', 'WITHSCORES', 'LIMIT', over, 1)[2] + ARGV[p + 1]
end

function measure.d(key, p)
  local newest = redis.pcall('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  if newest.err then
    redis.call('DEL', key)
  elseif newest[2] and tonumber(newest[2]) > now then
    local ahead = redis.call('ZRANGEBYSCORE', key, string.format('(%d', now), '+inf')
    for _, member in ipairs(ahead) do
      redis.call('ZADD', key, string.format('%d', now), member)
    end
    redis.call('PEXPIRE', key, ARGV[p + 2])
  end
  local used = redis.call('ZCOUNT', key, horizon(p), '+inf')
  local free = ARGV[p] - used
  local room = math.max(free, 0)
  if members > 0 then
    local met, oldest = {}, now - ARGV[p + 1]
    room = 0
    for j = 5, 4 + members do
      local member = ARGV[j]
      local last = not met[member] and redis.call('ZSCORE', key, member)
      if not met[member] and not (last and tonumber(last) > oldest) then
        free = free - 1
        if free < 0 then
          break
        end
      end
      met[member] = true
      room = room + 1
    end
  end
  return room, used, room < 1 and vacancy(key, p, used) or 0, p + 3
end

function charge.d(key, p, _, granted)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%d', now - ARGV[p + 1]))
  local stamp = string.format('%d', now)
  for j = 5, 4 + granted do
    redis.call('ZADD', key, stamp, ARGV[j])
  end
  redis.call('PEXPIRE', key, ARGV[p + 2])
  local used = redis.call('ZCARD', key)
  return used, vacancy(key, p, used), p + 3
end
