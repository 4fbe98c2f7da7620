-- Ends a session; 1 if it was of the current generation.
-- KEYS: user, index, session
-- ARGV: session id
local generation = string.match(redis.call('GET', KEYS[3]) or '', '^%S+')
-- First what needs no memory: behind it Redis refuses nothing where memory is full.
redis.call('ZREM', KEYS[2], ARGV[1])
-- Something is written in any case: the wait for replicas is for the connection's last write.
if not generation then redis.call('SET', KEYS[3], '') end
redis.call('DEL', KEYS[3])
if generation and generation == string.match(redis.call('GET', KEYS[1]) or '', '^%S+') then return 1 end
return 0
