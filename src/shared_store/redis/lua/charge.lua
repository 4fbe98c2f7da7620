-- Charges a bucket (GCRA, see the SQLite store) if it has room. Returns the time until it has room, or 0.
-- KEYS: bucket
-- ARGV: now, interval, burst, charges
local now, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local latest = now + interval * tonumber(ARGV[3])
local stored = tonumber(redis.call('GET', KEYS[1]) or 0)
local charged = math.max(math.min(stored, latest), now) + interval * tonumber(ARGV[4])
local wait = charged - latest
-- A rejection writes only a time that was out of range, which becomes that of an empty bucket.
if wait > 0 and stored <= latest then return wait end
local full = math.min(charged, latest)
-- When its memory is full, Redis rejects this write unless the script has written before. Passwords must be changeable even
-- then, and a bucket is small and short-lived.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', string.format('%.0f', full - now))
return math.max(wait, 0)
