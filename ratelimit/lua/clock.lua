-- clock.lua: the time of a decision, and the tables in which the kinds of the call enter themselves by their letter.
--
-- measure[letter](key, p)                  -> ROOM (units that fit), LEVEL, NEXT (the instant at which one unit fits;
--                                          0: now), P (of the next limit). ARGV[p] is the first that the kind reads.
--                                          Writes nothing, unless to heal a state that nobody wrote on purpose.
-- charge[letter](key, p, level, granted)   -> LEVEL and NEXT after `granted` units, P. Must not fail: what was written
--                                          before stays written.

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local measure, charge = {}, {}
