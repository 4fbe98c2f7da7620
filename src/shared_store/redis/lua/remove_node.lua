-- Forgets an added node, or notes that an instance is taken out; 0 if there is no such node.
-- KEYS: balancing
-- ARGV: field, instance or added
if ARGV[2] == 'instance' then
    redis.call('HSET', KEYS[1], ARGV[1], '')
    return 1
end
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record or record == '' then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
