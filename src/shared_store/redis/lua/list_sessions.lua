-- Returns the live sessions, oldest first.
-- KEYS: user, index
-- ARGV: now, session key prefix
local current = string.match(redis.call('GET', KEYS[1]) or '', '^%S+')
local now, sessions = tonumber(ARGV[1]), {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local session = redis.call('GET', ARGV[2] .. id) or ''
    local generation, idle_ends, ends = string.match(session, '^(%S+) (%S+) (%S+) ')
    if generation and generation == current and tonumber(idle_ends) > now and tonumber(ends) > now then
        sessions[#sessions + 1] = session
    end
end
return sessions
