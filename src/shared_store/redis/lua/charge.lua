-- Charges a bucket (GCRA, see the SQLite store) unless it has no room; returns how long until it has.
-- KEYS: bucket
-- ARGV: now, interval, burst, charges
local now, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local charged = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + interval * tonumber(ARGV[4])
local wait = charged - (now + interval * tonumber(ARGV[3]))
if wait > 0 then return wait end
-- Where memory is full Redis would refuse this, unless the script has written before: a password can be changed even then.
-- A bucket is small, and gone within moments.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], string.format('%.0f', charged), 'PX', string.format('%.0f', charged - now))
return 0
