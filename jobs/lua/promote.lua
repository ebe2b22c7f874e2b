-- Move every due job of some queues from RQ's scheduled registry to the queue itself.
--
-- KEYS: for each queue its scheduled registry (a sorted set, score = due time in seconds, fractions kept) and its list.
-- ARGV: 1 the most jobs to move per queue; 2 the key prefix of jobs; 3 now in seconds (0: this server's clock; tests).
-- Returns: {how many jobs were moved, the microseconds until the next of the others is due (-1: there is none)}.
--
-- The removal decides who moves a job, so any number of schedulers may run this at once.
local now = tonumber(ARGV[3])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local moved = 0
local next = -1
for i = 1, #KEYS, 2 do
  local due = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
  for _, id in ipairs(due) do
    redis.call('ZREM', KEYS[i], id)
    local job = ARGV[2] .. id
    if redis.call('EXISTS', job) == 1 then
      redis.call('HSET', job, 'status', 'queued')
      redis.call('RPUSH', KEYS[i + 1], id)
      moved = moved + 1
    end
  end
  local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  if first[2] then
    local us = math.max(0, math.ceil((tonumber(first[2]) - now) * 1000000))
    if next < 0 or us < next then next = us end
  end
end
return {moved, next}
