-- Gives charges back to a bucket.
-- KEYS: bucket
-- ARGV: now, the intervals of all charges
local now = tonumber(ARGV[1])
local refunded = tonumber(redis.call('GET', KEYS[1]) or 0) - tonumber(ARGV[2])
-- First, as Redis refuses nothing behind it where memory is full.
redis.call('DEL', KEYS[1])
if refunded > now then
    redis.call('SET', KEYS[1], string.format('%.0f', refunded), 'PX', string.format('%.0f', refunded - now))
end
return 1
