-- Returns id, last heartbeat and record of each instance with a recent heartbeat by the clock of Redis. A heartbeat in the
-- future was recorded before the clock was set back, or by another server before a failover.
-- KEYS: seen, records
-- ARGV: age
local time = redis.call('TIME')
local now, age = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[1])
local first, last = string.format('%.0f', now - age), string.format('%.0f', now + age)
local seen = redis.call('ZRANGEBYSCORE', KEYS[1], first, last, 'WITHSCORES')
local listed = {}
for index = 1, #seen, 2 do
    local record = redis.call('HGET', KEYS[2], seen[index])
    if record then
        listed[#listed + 1] = seen[index]
        listed[#listed + 1] = seen[index + 1]
        listed[#listed + 1] = record
    end
end
return listed
