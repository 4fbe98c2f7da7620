-- Returns the holder of a lock and its fencing token by the clock of Redis, or false if it is free.
-- KEYS: lock
local time = redis.call('TIME')
local lock = redis.call('HMGET', KEYS[1], 'holder', 'fence', 'expires_at')
if not lock[1] or tonumber(lock[3]) <= time[1] * 1000 + math.floor(time[2] / 1000) then return false end
return {lock[1], lock[2]}
