-- Take the lanes whose leases have run out without being given up.
--
-- KEYS: 1 the lanes that are held, by when their leases end (milliseconds).
-- ARGV: 1 now in milliseconds (0: this server's clock; tests).
-- Returns: the lanes; each is returned once.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local lanes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return lanes
