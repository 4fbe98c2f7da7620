-- The live sessions, oldest first.
-- KEYS: generation, index
-- ARGV: now, session key prefix
local current, now, sessions = redis.call('GET', KEYS[1]), tonumber(ARGV[1]), {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local session = redis.call('HMGET', ARGV[2] .. id, 'g', 'd', 'c', 'i', 'e', 'a', 'u')
    if session[1] and session[1] == current and tonumber(session[4]) > now and tonumber(session[5]) > now then
        for field = 2, 7 do sessions[#sessions + 1] = session[field] end
    end
end
return sessions
