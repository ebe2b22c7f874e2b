-- Take a lane for a turn, or leave word that a line was turned away.
--
-- KEYS: 1 the lane's lease; 2 the lines that were turned away from it; 3 the lanes that are held, by when their leases end.
-- ARGV: 1 the token of the turn; 2 how long the lease lasts, in milliseconds; 3 the turn's line; 4 the lane.
-- Returns: 1 the lane is the turn's, 0 another turn holds it.
--
-- A command whose answer was lost is sent again: the lane is the turn's already then.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  redis.call('SADD', KEYS[2], ARGV[3])
  redis.call('EXPIRE', KEYS[2], 3600)
  return 0
end
local time = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[4])
return 1
