-- Ends a session; 1 if it was of the current generation.
-- KEYS: generation, index, session
-- ARGV: session id
local generation = redis.call('HGET', KEYS[3], 'g')
-- Something is written in any case: the wait for replicas is for the connection's last write.
if not generation then redis.call('HSET', KEYS[3], 'g', '') end
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[2], ARGV[1])
if generation and generation == redis.call('GET', KEYS[1]) then return 1 end
return 0
