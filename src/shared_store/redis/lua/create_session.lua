-- Creates a session if the user's generation is the expected one, or if none is expected and there is none.
-- KEYS: user, index, the new session
-- ARGV: expected generation or '', random generation, now, limit, version, snapshot, session key prefix, session id,
--       idle_expires_at, expires_at, the rest of the session, the highest version
local current, known = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) ?(%S*)')
local now, ending = tonumber(ARGV[3]), tonumber(ARGV[10])
if (current or '') ~= ARGV[1] then return 0 end
current = current or ARGV[2]
-- This write comes first and needs memory: when memory is full, Redis rejects it, and the script has no effect.
local session = table.concat({current, ARGV[9], ARGV[10], ARGV[11]}, ' ')
redis.call('SET', KEYS[3], session, 'PX', string.format('%.0f', tonumber(ARGV[9]) - now))
-- The snapshot of a forgotten user, which has the highest version, is replaced: the generation proves that this user was read
-- afterwards.
if not known or known == '' or known == ARGV[12] or tonumber(known) < tonumber(ARGV[5]) then
    redis.call('SET', KEYS[1], table.concat({current, ARGV[5], ARGV[6]}, ' '), 'KEEPTTL')
end
local left = ending - now
if redis.call('PTTL', KEYS[1]) < left then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left)) end
-- Oldest first: the index is ordered by absolute expiry, and all sessions have the same absolute lifetime.
local alive = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local generation, idle_ends, ends = string.match(redis.call('GET', ARGV[7] .. id) or '', '^(%S+) (%S+) (%S+) ')
    if generation == current and tonumber(idle_ends) > now and tonumber(ends) > now then
        alive[#alive + 1] = id
    else
        redis.call('DEL', ARGV[7] .. id)
        redis.call('ZREM', KEYS[2], id)
    end
end
for place = 1, #alive - tonumber(ARGV[4]) + 1 do
    redis.call('DEL', ARGV[7] .. alive[place])
    redis.call('ZREM', KEYS[2], alive[place])
end
redis.call('ZADD', KEYS[2], ARGV[10], ARGV[8])
redis.call('PEXPIRE', KEYS[2], string.format('%.0f', left))
return 1
