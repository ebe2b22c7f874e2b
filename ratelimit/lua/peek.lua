-- peek.lua: how many units every limit would allow now, without charging any.
--
-- KEYS    one for each limit
-- ARGV    terms/full.lua
-- Returns as acquire.lua, with the levels as they are

local reply, granted, p, room = {0, now}, want, first, nil
for i = 1, #KEYS do
  room, reply[2 * i + 1], reply[2 * i + 2], p = measure[ARGV[p]](KEYS[i], p + 1)
  if room < granted then
    granted = room
  end
end
reply[1] = granted
return reply
