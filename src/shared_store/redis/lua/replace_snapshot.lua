-- Replaces a snapshot of a lower version; where there is none, nothing is written. Returns whether it was replaced.
-- KEYS: user
-- ARGV: version, snapshot
local generation, known, snapshot = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+) ?(.*)$')
if not generation or tonumber(known) >= tonumber(ARGV[1]) then return 0 end
-- Where memory is full, a script that has written may go on. Documents must not grow then, but for small ones.
if #ARGV[2] <= math.max(#snapshot, 512) then redis.call('DEL', KEYS[1] .. '-') end
redis.call('SET', KEYS[1], table.concat({generation, ARGV[1], ARGV[2]}, ' '), 'KEEPTTL')
return 1
