-- Deletes instances without recent heartbeats by the clock of Redis, and removed instances that left the fleet long ago.
-- KEYS: seen, records, balancing, removed
-- ARGV: maximum age of heartbeats, maximum age of removals
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function before(age) return string.format('%.0f', now - tonumber(age)) end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before(ARGV[1]))) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
end
local nodes = redis.call('HGETALL', KEYS[3])
for index = 1, #nodes, 2 do
    local id = string.match(nodes[index], '^node:(.*)$')
    -- For instances removed by an older version, which recorded no time, the age starts now.
    if id and nodes[index + 1] == '' then redis.call('ZADD', KEYS[4], 'NX', string.format('%.0f', now), id) end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', before(ARGV[2]))) do
    if not redis.call('ZSCORE', KEYS[1], id) then
        if redis.call('HGET', KEYS[3], 'node:' .. id) == '' then redis.call('HDEL', KEYS[3], 'node:' .. id) end
        redis.call('ZREM', KEYS[4], id)
    end
end
return 1
