-- Let a turn hold its lane longer.
--
-- KEYS: 1 the lane's lease; 2 the lanes that are held, by when their leases end.
-- ARGV: 1 the token of the turn; 2 how long the lease lasts from now, in milliseconds; 3 the lane.
-- Returns: 1 the turn holds the lane, also when its lease had run out and nobody had taken it; 0 another turn holds it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[3])
return 1
