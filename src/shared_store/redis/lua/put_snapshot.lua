-- Replaces a snapshot of a lower version; makes a generation where there is none.
-- KEYS: generation, snapshot
-- ARGV: random generation, how long to keep it at least, version, snapshot
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
local known = redis.call('HGET', KEYS[2], 'v')
if not known or tonumber(known) < tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[2], 'v', ARGV[3], 'd', ARGV[4])
end
-- Written in any case: the wait for replicas is for the connection's last write.
redis.call('PEXPIRE', KEYS[2], redis.call('PTTL', KEYS[1]))
return 1
