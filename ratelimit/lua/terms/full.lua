-- full.lua: the terms of a call in full.
--
-- ARGV    WANT (units asked for), NOW (us since the epoch; 0: the clock of Redis), COST (what one unit takes from each
--         limit), MEMBERS (how many: 0 or WANT); the members; then for each limit its kind's letter and what the kind
--         reads

local want, now, cost, members = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local first = 5 + members
