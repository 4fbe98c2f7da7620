-- Writes a note, unless the current one has a higher fencing token. Returns 1 if it was written.
-- KEYS: note
-- ARGV: text, fence
local fence = redis.call('HGET', KEYS[1], 'fence')
if fence and tonumber(fence) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'text', ARGV[1], 'fence', ARGV[2])
return 1
