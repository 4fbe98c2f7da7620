-- Takes or extends a lock by the clock of Redis. Returns its fencing token, or 0 while another holder has it.
-- KEYS: lock
-- ARGV: holder, lease
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = now + tonumber(ARGV[2])
local lock = redis.call('HMGET', KEYS[1], 'holder', 'expires_at')
local lapsed = not lock[1] or tonumber(lock[2]) <= now
if not lapsed and lock[1] ~= ARGV[1] then
    -- The clock was set back or is another server's after a failover. A lock must not outlast a lease from now.
    if tonumber(lock[2]) > ends then redis.call('HSET', KEYS[1], 'expires_at', string.format('%.0f', ends)) end
    return 0
end
if lapsed or lock[1] ~= ARGV[1] then redis.call('HINCRBY', KEYS[1], 'fence', 1) end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'expires_at', string.format('%.0f', ends))
return tonumber(redis.call('HGET', KEYS[1], 'fence'))
