-- Gives charges back to a bucket.
-- KEYS: bucket
-- ARGV: now, the intervals of all charges
local now = tonumber(ARGV[1])
local refunded = tonumber(redis.call('GET', KEYS[1]) or 0) - tonumber(ARGV[2])
if refunded > now then
    redis.call('SET', KEYS[1], string.format('%.0f', refunded), 'PX', string.format('%.0f', refunded - now))
else
    redis.call('DEL', KEYS[1])
end
return 1
