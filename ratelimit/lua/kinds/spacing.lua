-- spacing.lua: the letter 't' (token-bucket and bucket): GCRA, a debt in microseconds.
--
-- State   a string "TAT INTERVAL AT" or "TAT INTERVAL AT hold", whole microseconds. Written at the instant AT, when
--         the debt was TAT - AT; it falls by one each microsecond. INTERVAL is what one unit cost then. `hold` marks
--         a penalty: AT may lie ahead, and the debt does not fall before it. No key means no debt.
-- ARGV    INTERVAL, CAPACITY (us, the greatest debt), TTL_MS, PROMISE ("SPAN COUNT": at most COUNT units in SPAN us;
--         empty: none, the kind `bucket`)
-- LEVEL   the debt in microseconds
--
-- A state written under other numbers is read so that the new promise holds, also in windows that reach back over the
-- change. The reading hangs on AT alone, never on now, so a quoted instant stays true while nothing is written:
--   * the debt is the same number of units, at the new interval;
--   * at most (x + TAT - AT) / INTERVAL units went out in the x before AT, so the next one waits until
--     TAT + SPAN - COUNT * INTERVAL, with the old interval: then a window of SPAN that ends there holds COUNT;
--   * after SPAN without a unit nothing old is left in a window, so no debt makes anyone wait longer than that.
-- Healed, because they would never heal by themselves: an AT ahead of the clock (the clock stepped back; the debt is
-- kept and falls from now on), and a value that is no state at all (taken as the greatest debt).

-- The debt of a state that this limit cannot have written itself, and whether to write it down.
local function convert(value, p, interval, capacity)
  local tat, old, at, hold = string.match(value, '^(%d+) (%d+) (%d+)(.*)$')
  if not tat or tonumber(old) == 0 or (hold ~= '' and hold ~= ' hold') then
    return capacity, true
  end
  at, old = tonumber(at), tonumber(old)
  local owed, most = math.max(tat - at, 0), capacity
  local carried = math.ceil(owed * interval / old)
  local span, count = string.match(ARGV[p + 3], '(%d+) (%d+)')
  if span then
    most = span + capacity - interval
    carried = math.max(carried, owed + most - count * old)
  end
  carried = math.min(carried, most)
  if at > now and hold == '' then
    return carried, true
  end
  return math.max(at + carried - now, 0), false
end

local function write(key, p, debt)
  redis.call('SET', key, string.format('%d %s %d', now + debt, ARGV[p], now), 'PX', ARGV[p + 2])
end

function measure.t(key, p)
  local interval, capacity, debt = tonumber(ARGV[p]), tonumber(ARGV[p + 1]), 0
  local value = redis.pcall('GET', key)
  if value then
    value = type(value) == 'string' and value or ''
    local tat, old, at = string.match(value, '^(%d+) (%d+) (%d+)$')
    if old == ARGV[p] and tat - at <= capacity and tonumber(at) <= now then
      debt = math.max(tat - now, 0)
    else
      local heal
      debt, heal = convert(value, p, interval, capacity)
      if heal then
        write(key, p, debt)
      end
    end
  end
  local room = capacity - debt
  interval = interval * cost
  if room < interval then
    return 0, debt, now + interval - room, p + 4
  end
  return math.floor(room / interval), debt, 0, p + 4
end

function charge.t(key, p, debt, granted)
  local inc = ARGV[p] * cost
  debt = debt + granted * inc
  write(key, p, debt)
  local ahead = debt + inc - ARGV[p + 1]
  return debt, ahead > 0 and now + ahead or 0, p + 4
end
