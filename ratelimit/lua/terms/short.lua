-- short.lua: the terms of the plain call, by far the most frequent: one argument to read instead of four.
--
-- ARGV    WANT (units asked for); then for each limit its kind's letter and what the kind reads

local want, now, cost, members, first = tonumber(ARGV[1]), 0, 1, 0, 2
