-- Releases a lock if this holder has it.
-- KEYS: lock
-- ARGV: holder
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then redis.call('HSET', KEYS[1], 'expires_at', '0') end
return 1
