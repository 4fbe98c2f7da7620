-- Raises the generation, or makes one; the kept session follows it if it was of the one before.
-- KEYS: generation, kept session or, if none is kept, the generation again
-- ARGV: random generation, how long to keep it at least
local before = redis.call('GET', KEYS[1])
if before then
    redis.call('INCR', KEYS[1])
    local generation, rest = string.match(KEYS[2] ~= KEYS[1] and redis.call('GET', KEYS[2]) or '', '^(%S+)( .*)$')
    if generation == before then
        redis.call('SET', KEYS[2], redis.call('GET', KEYS[1]) .. rest, 'KEEPTTL')
    end
else
    redis.call('SET', KEYS[1], ARGV[1])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
