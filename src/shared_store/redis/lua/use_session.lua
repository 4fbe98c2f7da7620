-- A live session and the user's snapshot; slides the idle expiry.
-- KEYS: generation, snapshot, session
-- ARGV: now, idle
local session = redis.call('HMGET', KEYS[3], 'g', 'd', 'c', 'i', 'e', 'a', 'u')
local now = tonumber(ARGV[1])
if not session[1] or session[1] ~= redis.call('GET', KEYS[1]) then return false end
local idle_ends, ending = tonumber(session[4]), tonumber(session[5])
if idle_ends <= now or ending <= now then return false end
local snapshot = redis.call('HMGET', KEYS[2], 'v', 'd')
if not snapshot[1] then return false end
local slid = math.min(now + tonumber(ARGV[2]), ending)
if slid > idle_ends then
    session[4] = string.format('%.0f', slid)
    redis.call('HSET', KEYS[3], 'i', session[4])
    redis.call('PEXPIRE', KEYS[3], string.format('%.0f', slid - now))
end
return {session[2], session[3], session[4], session[5], session[6], session[7], snapshot[1], snapshot[2]}
