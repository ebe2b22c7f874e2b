-- until.lua: the letter 'u' (until): a cool-down; nothing passes before an instant.
--
-- State   a string, the instant (us); written by penalize.lua alone. What is no number holds nothing back.
-- ARGV    none
-- LEVEL   the instant while it lies ahead, else 0

function measure.u(key, p)
  local value = redis.pcall('GET', key)
  local instant = type(value) == 'string' and tonumber(value) or 0
  if instant > now then
    return 0, instant, instant, p
  end
  return want, 0, 0, p
end

function charge.u(_, p)
  return 0, 0, p
end
