-- Raises the generation, or makes one, and erases all else. No snapshot has a higher version than the one left behind, so
-- none is written after the user was forgotten.
-- KEYS: user, index, revocations
-- ARGV: random generation, how long to keep it, session key prefix, the highest version, the revocation that this ends or ''
local generation = string.match(redis.call('GET', KEYS[1]) or '', '^%S+')
generation = generation and string.format('%.0f', tonumber(generation) + 1) or ARGV[1]
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('DEL', ARGV[3] .. id) end
-- Behind this Redis refuses nothing where memory is full.
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[5])
redis.call('SET', KEYS[1], table.concat({generation, ARGV[4], '{}'}, ' '), 'PX', ARGV[2])
return 1
