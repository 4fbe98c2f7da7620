-- Adds a session if the user's generation is the expected one, or if none was expected and there is none.
-- KEYS: generation, snapshot, index, the new session
-- ARGV: expected generation or '', random generation, now, limit, version, snapshot, session key prefix, session id,
--       idle_expires_at, expires_at, the rest of the session, the highest version
local current = redis.call('GET', KEYS[1])
local now, ending = tonumber(ARGV[3]), tonumber(ARGV[10])
if ARGV[1] == '' then
    if current then return 0 end
    current = ARGV[2]
    redis.call('SET', KEYS[1], current)
elseif current ~= ARGV[1] then
    return 0
end
local known = string.match(redis.call('GET', KEYS[2]) or '', '^%S+')
-- What was left of a forgotten user gives way: the generation says that this one was read after it.
if not known or known == ARGV[12] or tonumber(known) < tonumber(ARGV[5]) then
    redis.call('SET', KEYS[2], ARGV[5] .. ' ' .. ARGV[6], 'KEEPTTL')
end
local left = ending - now
for _, key in ipairs({KEYS[1], KEYS[2]}) do
    if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, string.format('%.0f', left)) end
end
-- Oldest first: the index is in the order of absolute expiry, which all sessions have equally far from their making.
local alive = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    local generation, idle_ends, ends = string.match(redis.call('GET', ARGV[7] .. id) or '', '^(%S+) (%S+) (%S+) ')
    if generation == current and tonumber(idle_ends) > now and tonumber(ends) > now then
        alive[#alive + 1] = id
    else
        redis.call('DEL', ARGV[7] .. id)
        redis.call('ZREM', KEYS[3], id)
    end
end
for place = 1, #alive - tonumber(ARGV[4]) + 1 do
    redis.call('DEL', ARGV[7] .. alive[place])
    redis.call('ZREM', KEYS[3], alive[place])
end
local session = table.concat({current, ARGV[9], ARGV[10], ARGV[11]}, ' ')
redis.call('SET', KEYS[4], session, 'PX', string.format('%.0f', tonumber(ARGV[9]) - now))
redis.call('ZADD', KEYS[3], ARGV[10], ARGV[8])
redis.call('PEXPIRE', KEYS[3], string.format('%.0f', left))
return 1
