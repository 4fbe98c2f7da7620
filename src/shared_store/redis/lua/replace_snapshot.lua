-- Replaces an existing snapshot of a lower version. Returns whether it was replaced.
-- KEYS: user
-- ARGV: version, snapshot
local generation, known, snapshot = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+) ?(.*)$')
if not generation or tonumber(known) >= tonumber(ARGV[1]) then return 0 end
-- See put_snapshot.lua: a write before allows the next one when memory is full.
if #ARGV[2] <= math.max(#snapshot, 512) then redis.call('DEL', KEYS[1] .. '-') end
redis.call('SET', KEYS[1], table.concat({generation, ARGV[1], ARGV[2]}, ' '), 'KEEPTTL')
return 1
