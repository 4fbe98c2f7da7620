-- Raises the generation, or makes one; the kept session follows it if it was of the one before.
-- KEYS: generation, kept session or, if none is kept, the generation again
-- ARGV: random generation, how long to keep it at least
local before = redis.call('GET', KEYS[1])
if before then
    redis.call('INCR', KEYS[1])
    if KEYS[2] ~= KEYS[1] and redis.call('HGET', KEYS[2], 'g') == before then
        redis.call('HSET', KEYS[2], 'g', redis.call('GET', KEYS[1]))
    end
else
    redis.call('SET', KEYS[1], ARGV[1])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
