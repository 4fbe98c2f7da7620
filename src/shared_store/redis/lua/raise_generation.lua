-- Raises or creates the generation. The kept session moves to it if it was of the previous one. The first step of a revocation
-- records it as pending until some time after its expiry; the second step removes the record.
-- KEYS: user, kept session or, if none is kept, the user again, revocations
-- ARGV: random generation, its minimum time to live, revocation id or '', lifetime of the revocation or '' for the second step,
--       time for which to keep the revocation after its expiry
-- The first write needs no memory, so Redis accepts the following ones even when memory is full.
redis.call('ZREM', KEYS[3], ARGV[3])
if ARGV[4] ~= '' then
    local time = redis.call('TIME')
    local expiry = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[4])
    redis.call('ZADD', KEYS[3], string.format('%.0f', expiry), ARGV[3])
    local kept = tonumber(ARGV[4]) + tonumber(ARGV[5])
    if redis.call('PTTL', KEYS[3]) < kept then redis.call('PEXPIRE', KEYS[3], string.format('%.0f', kept)) end
end
local before, snapshot = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+)(.*)$')
if before then
    local raised = string.format('%.0f', tonumber(before) + 1)
    redis.call('SET', KEYS[1], raised .. snapshot, 'KEEPTTL')
    local generation, rest = string.match(KEYS[2] ~= KEYS[1] and redis.call('GET', KEYS[2]) or '', '^(%S+)( .*)$')
    if generation == before then redis.call('SET', KEYS[2], raised .. rest, 'KEEPTTL') end
else
    redis.call('SET', KEYS[1], ARGV[1])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
