-- Extends the idle expiry of a session. Returns the new expiry, or false if there is no such session.
-- KEYS: session
-- ARGV: now, idle
local text = redis.call('GET', KEYS[1])
if not text then return false end
local generation, idle_ends, ending, rest = string.match(text, '^(%S+) (%S+) (%S+) (.*)$')
local now = tonumber(ARGV[1])
local slid = math.min(now + tonumber(ARGV[2]), tonumber(ending))
if slid <= tonumber(idle_ends) then return idle_ends end
slid = string.format('%.0f', slid)
redis.call('SET', KEYS[1], table.concat({generation, slid, ending, rest}, ' '), 'PX', string.format('%.0f', slid - now))
return slid
