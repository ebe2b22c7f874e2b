-- acquire.lua: grant as many units as every limit allows and charge exactly those; or change nothing and say when.
--
-- KEYS    one for each limit
-- ARGV    terms/short.lua or terms/full.lua
-- Returns {GRANTED, NOW, then for each limit LEVEL and NEXT (the instant at which one more unit fits it; 0: now)}.
--         One flat table of integers.
--
-- A refusal writes nothing, unless to heal a state that nobody wrote on purpose (see the kinds).

local reply, granted, p, room = {0, now}, want, first, nil
for i = 1, #KEYS do
  room, reply[2 * i + 1], reply[2 * i + 2], p = measure[ARGV[p]](KEYS[i], p + 1)
  if room < granted then
    granted = room
  end
end
if granted < 1 then
  return reply
end

reply[1], p = granted, first
for i = 1, #KEYS do
  reply[2 * i + 1], reply[2 * i + 2], p = charge[ARGV[p]](KEYS[i], p + 1, reply[2 * i + 1], granted)
end
return reply
