-- Returns the generation or '', the expiry of the last revocation or '', and the time, in Unix milliseconds.
-- A revocation that exceeds the maximum lifetime was recorded before the clock was set back, or by another server before a
-- failover, and expires now.
-- KEYS: user, revocations
-- ARGV: maximum lifetime of a revocation
local generation = string.match(redis.call('GETRANGE', KEYS[1], 0, 19), '^%S*')
local function last() return redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or '' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local latest, shown = now + tonumber(ARGV[1]), string.format('%.0f', now)
if last() ~= '' and tonumber(last()) > latest then
    local overlong = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', latest), '+inf')
    for _, id in ipairs(overlong) do redis.call('ZADD', KEYS[2], shown, id) end
end
return {generation, last(), shown}
