-- penalize.lua: let nothing pass before an instant, and no burst at it. Never shortens what is already in force.
--
-- KEYS    one, of the letter 't'
-- ARGV    UNTIL (us), NOW (us; 0: the clock of Redis); then what the kind reads: INTERVAL, CAPACITY, TTL_MS
-- Returns nothing
--
-- Leaves a debt that has room for exactly one unit at UNTIL, so that sending resumes at the plain rate.

local until_us, now = tonumber(ARGV[1]), tonumber(ARGV[2])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local value = redis.pcall('GET', KEYS[1])
local in_force = type(value) == 'string' and tonumber(string.match(value, '^%d+')) or 0
local tat = until_us + ARGV[4] - ARGV[3]
if until_us > now and tat > in_force then
  redis.call('SET', KEYS[1], string.format('%d %s %d hold', tat, ARGV[3], until_us),
    'PX', math.ceil((until_us - now) / 1000) + ARGV[5])
end
