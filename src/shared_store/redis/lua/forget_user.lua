-- Raises the generation, or makes one, and erases all else. No snapshot has a higher version than the one left behind, so
-- none is written after the user was forgotten.
-- KEYS: generation, snapshot, index
-- ARGV: random generation, how long to keep it, session key prefix, the highest version
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('INCR', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1]) end
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do redis.call('DEL', ARGV[3] .. id) end
redis.call('DEL', KEYS[3])
redis.call('SET', KEYS[2], ARGV[4] .. ' {}')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
