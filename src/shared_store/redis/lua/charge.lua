-- Charges a bucket (GCRA, see the SQLite store) unless it has no room; returns how long until it has.
-- KEYS: bucket
-- ARGV: now, interval, burst, charges
local now, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local latest = now + interval * tonumber(ARGV[3])
local stored = tonumber(redis.call('GET', KEYS[1]) or 0)
local charged = math.max(math.min(stored, latest), now) + interval * tonumber(ARGV[4])
local wait = charged - latest
-- A refusal changes nothing but an impossible time, which becomes that of an empty bucket.
if wait > 0 and stored <= latest then return wait end
local full = math.min(charged, latest)
-- Where memory is full Redis would refuse this, unless the script has written before: a password can be changed even then.
-- A bucket is small, and gone within moments.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', full - now))
return math.max(wait, 0)
