-- Registers or refreshes an instance by the clock of Redis. Returns its previous record, or false.
-- KEYS: seen, records
-- ARGV: instance id, record
local time = redis.call('TIME')
local before = redis.call('HGET', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return before
