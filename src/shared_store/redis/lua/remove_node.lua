-- Deletes an added node, or records an instance as removed. Returns 0 if there is no such node.
-- KEYS: balancing, removed
-- ARGV: field, instance or added, id
if ARGV[2] == 'instance' then
    local time = redis.call('TIME')
    redis.call('HSET', KEYS[1], ARGV[1], '')
    redis.call('ZADD', KEYS[2], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[3])
    return 1
end
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record or record == '' then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
