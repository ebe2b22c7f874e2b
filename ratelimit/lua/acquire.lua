-- acquire.lua: grant as many units as every limit allows and charge exactly those; or change nothing and say when.
--
-- KEYS    one for each limit; with a permit, its key comes last
-- ARGV    terms/short.lua or terms/full.lua
-- Returns {GRANTED, NOW, then for each limit LEVEL and NEXT (the instant at which one more unit fits it; 0: now), then
--         what an undo needs beyond that}. One flat table of integers.
--
-- A refusal writes nothing, unless to heal a state that nobody wrote on purpose (see the kinds).

local limits = #KEYS
if permit_ms > 0 then
  local earlier = redis.call('GET', KEYS[limits])
  if earlier then
    return cmsgpack.unpack(earlier)
  end
  limits = limits - 1
end

local reply, granted, p, room = {0, now}, want, first, nil
for i = 1, limits do
  room, reply[2 * i + 1], reply[2 * i + 2], p = measure[ARGV[p]](KEYS[i], p + 1)
  if room < granted then
    granted = room
  end
end
if granted < 1 then
  return reply
end

reply[1], p = granted, first
for i = 1, limits do
  reply[2 * i + 1], reply[2 * i + 2], p = charge[ARGV[p]](KEYS[i], p + 1, reply[2 * i + 1], granted)
end
for _, value in ipairs(undo or {}) do
  reply[#reply + 1] = value
end
if permit_ms > 0 then
  redis.call('SET', KEYS[limits + 1], cmsgpack.pack(reply), 'PX', permit_ms)
end
return reply
