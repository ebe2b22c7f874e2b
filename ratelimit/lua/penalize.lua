-- penalize.lua: let nothing pass before an instant, and no burst at it. Never shortens what is already in force.
--
-- KEYS    any number, of the letters 'u' and 't'
-- ARGV    UNTIL (us), NOW (us; 0: the clock of Redis); then for each key its letter and what its kind reads
-- Returns how many keys were changed
--
-- A 't' is left with a debt that has room for exactly one unit at UNTIL, so that sending resumes at the plain rate.

local until_us, now = tonumber(ARGV[1]), tonumber(ARGV[2])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local changed, p = 0, 3
for _, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  local in_force = type(value) == 'string' and tonumber(string.match(value, '^%d+')) or 0
  if ARGV[p] == 'u' then
    if until_us > now and until_us > in_force then
      redis.call('SET', key, string.format('%d', until_us), 'PX', math.ceil((until_us - now) / 1000) + 1)
      changed = changed + 1
    end
    p = p + 1
  else
    local tat = until_us + ARGV[p + 2] - ARGV[p + 1]
    if until_us > now and tat > in_force then
      redis.call('SET', key, string.format('%d %s %d hold', tat, ARGV[p + 1], until_us),
        'PX', math.ceil((until_us - now) / 1000) + ARGV[p + 3])
      changed = changed + 1
    end
    p = p + 5
  end
end
return changed
