-- Ends a session. Returns 1 if it was of the current generation.
-- KEYS: user, index, session
-- ARGV: session id
local generation = string.match(redis.call('GET', KEYS[3]) or '', '^%S+')
-- The first write needs no memory, so Redis accepts the following ones even when memory is full.
redis.call('ZREM', KEYS[2], ARGV[1])
-- Always writes something, because WAIT waits for the last write of the connection.
if not generation then redis.call('SET', KEYS[3], '') end
redis.call('DEL', KEYS[3])
if generation and generation == string.match(redis.call('GET', KEYS[1]) or '', '^%S+') then return 1 end
return 0
