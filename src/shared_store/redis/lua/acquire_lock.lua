-- Takes or extends a lock; returns its fence, or 0 while another holder has it.
-- KEYS: lock
-- ARGV: holder, now, when the lease ends
local lock = redis.call('HMGET', KEYS[1], 'holder', 'expires_at')
local lapsed = not lock[1] or tonumber(lock[2]) <= tonumber(ARGV[2])
if not lapsed and lock[1] ~= ARGV[1] then return 0 end
if lapsed or lock[1] ~= ARGV[1] then redis.call('HINCRBY', KEYS[1], 'fence', 1) end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'expires_at', ARGV[3])
return tonumber(redis.call('HGET', KEYS[1], 'fence'))
