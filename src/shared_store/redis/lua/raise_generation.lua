-- Raises the generation, or makes one; the kept session follows it if it was of the one before.
-- KEYS: user, kept session or, if none is kept, the user again
-- ARGV: random generation, how long to keep it at least
-- Redis refuses what may take memory where that is full, unless the script has written before: what ends sessions must pass.
redis.call('DEL', KEYS[1] .. '-')
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
