-- Replaces a snapshot of a lower version; makes a generation where there is none.
-- KEYS: generation, snapshot
-- ARGV: random generation, how long to keep it at least, version, snapshot
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
local known = string.match(redis.call('GET', KEYS[2]) or '', '^%S+')
if not known or tonumber(known) < tonumber(ARGV[3]) then
    redis.call('SET', KEYS[2], ARGV[3] .. ' ' .. ARGV[4], 'KEEPTTL')
end
-- Written in any case: the wait for replicas is for the connection's last write.
redis.call('PEXPIRE', KEYS[2], redis.call('PTTL', KEYS[1]))
return 1
