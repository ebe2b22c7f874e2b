-- Make sure that a lane has one waiting turn, at the latest at a given time.
--
-- KEYS: 1 the lane's waiting-turn key; 2 the scheduled registry; 3 the queue's list.
-- ARGV: 1 the id of a turn that was just written, to be used if one is needed; 2 when it is wanted, in seconds.
-- Returns: 1 the offered turn was taken (it is in the registry now), 2 a waiting turn was brought forward,
--          0 a turn waits already and early enough.
--
-- The waiting-turn key names the turn that has not begun. It may be stale after a crash: then the turn is in neither
-- place and the offered one is taken. RQ's intermediate list does not count: a job is there for a millisecond between queue
-- and worker, and for minutes if the worker was killed just then. A turn too many is harmless, a turn too few is not.
local wanted = tonumber(ARGV[2])
local waiting = redis.call('GET', KEYS[1])
if waiting then
  local at = redis.call('ZSCORE', KEYS[2], waiting)
  if at then
    if tonumber(at) <= wanted then return 0 end
    redis.call('ZADD', KEYS[2], 'XX', wanted, waiting)
    return 2
  end
  if redis.call('LPOS', KEYS[3], waiting) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', 604800)
redis.call('ZADD', KEYS[2], wanted, ARGV[1])
return 1
