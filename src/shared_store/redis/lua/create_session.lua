-- Adds a session if the user's generation is the expected one, or if none was expected and there is none.
-- KEYS: generation, snapshot, index, the new session
-- ARGV: expected generation or '', random generation, now, limit, version, snapshot, session key prefix, session id,
--       digest, created_at, idle_expires_at, expires_at, address or '', user agent or '', the highest version
local current = redis.call('GET', KEYS[1])
local now, ending = tonumber(ARGV[3]), tonumber(ARGV[12])
if ARGV[1] == '' then
    if current then return 0 end
    current = ARGV[2]
    redis.call('SET', KEYS[1], current)
elseif current ~= ARGV[1] then
    return 0
end
local known = redis.call('HGET', KEYS[2], 'v')
-- What was left of a forgotten user gives way: the generation says that this one was read after it.
if not known or known == ARGV[15] or tonumber(known) < tonumber(ARGV[5]) then
    redis.call('HSET', KEYS[2], 'v', ARGV[5], 'd', ARGV[6])
end
local left = ending - now
for _, key in ipairs({KEYS[1], KEYS[2]}) do
    if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, string.format('%.0f', left)) end
end
-- Oldest first: the index is in the order of absolute expiry, which all sessions have equally far from their making.
local alive = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    local session = redis.call('HMGET', ARGV[7] .. id, 'g', 'i', 'e')
    if session[1] == current and tonumber(session[2]) > now and tonumber(session[3]) > now then
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
redis.call('HSET', KEYS[4], 'g', current, 'd', ARGV[9], 'c', ARGV[10], 'i', ARGV[11], 'e', ARGV[12], 'a', ARGV[13], 'u', ARGV[14])
redis.call('PEXPIRE', KEYS[4], string.format('%.0f', tonumber(ARGV[11]) - now))
redis.call('ZADD', KEYS[3], ARGV[12], ARGV[8])
redis.call('PEXPIRE', KEYS[3], string.format('%.0f', left))
return 1
