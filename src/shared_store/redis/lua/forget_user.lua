-- Raises or creates the generation and deletes everything else. The remaining version is the highest possible, so no snapshot
-- is written after the user was forgotten.
-- KEYS: user, index, revocations
-- ARGV: random generation, its time to live, session key prefix, the highest version, id of the revocation to end or ''
local generation = string.match(redis.call('GET', KEYS[1]) or '', '^%S+')
generation = generation and string.format('%.0f', tonumber(generation) + 1) or ARGV[1]
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('DEL', ARGV[3] .. id) end
-- After this write Redis accepts the following ones even when memory is full.
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[5])
redis.call('SET', KEYS[1], table.concat({generation, ARGV[4], '{}'}, ' '), 'PX', ARGV[2])
return 1
