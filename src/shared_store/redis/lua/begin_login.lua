-- What a login finds when it begins: the generation or '', when the last revocation expires or '', and the time, in milliseconds.
-- A revocation that lasts for too long was noted before the clock went back, or by another server before a failover, and
-- expires now.
-- KEYS: user, revocations
-- ARGV: how long one may last
local generation = string.match(redis.call('GETRANGE', KEYS[1], 0, 19), '^%S*')
local function last() return redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or '' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local latest, shown = now + tonumber(ARGV[1]), string.format('%.0f', now)
if last() ~= '' and tonumber(last()) > latest then
    local impossible = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', latest), '+inf')
    for _, id in ipairs(impossible) do redis.call('ZADD', KEYS[2], shown, id) end
end
return {generation, last(), shown}
