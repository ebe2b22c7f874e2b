-- Give a lane up.
--
-- KEYS: 1 the lane's lease; 2 the lines that were turned away from it; 3 the lanes that are held, by when their leases end.
-- ARGV: 1 the token of the turn; 2 the lane.
-- Returns: the lines that were turned away meanwhile; none when the turn does not hold the lane, which stays as it is.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {} end
local turned_away = redis.call('SMEMBERS', KEYS[2])
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[2])
return turned_away
