-- Refunds charges of a bucket.
-- KEYS: bucket
-- ARGV: now, interval, burst, charges
local now, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local stored = tonumber(redis.call('GET', KEYS[1]) or 0)
local refunded = math.min(stored, now + interval * tonumber(ARGV[3])) - interval * tonumber(ARGV[4])
-- The first write needs no memory, so Redis accepts the following one even when memory is full.
redis.call('DEL', KEYS[1])
if refunded > now then
    redis.call('SET', KEYS[1], string.format('%.0f', refunded), 'PX', string.format('%.0f', refunded - now))
end
return 1
