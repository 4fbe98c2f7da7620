-- Replaces a snapshot of a lower version. Creates a generation if there is none.
-- KEYS: user
-- ARGV: random generation, its minimum time to live, version, snapshot
local generation, known, snapshot = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) ?(%S*) ?(.*)$')
-- When its memory is full, Redis rejects writes that may need memory, unless the script has written before. Changes of passwords
-- and permissions must pass even then, so the script writes first, unless the document both grows and exceeds 512 bytes.
if #ARGV[4] <= math.max(#(snapshot or ''), 512) then redis.call('DEL', KEYS[1] .. '-') end
if not generation then
    redis.call('SET', KEYS[1], table.concat({ARGV[1], ARGV[3], ARGV[4]}, ' '), 'PX', ARGV[2])
elseif known == '' or tonumber(known) < tonumber(ARGV[3]) then
    redis.call('SET', KEYS[1], table.concat({generation, ARGV[3], ARGV[4]}, ' '), 'KEEPTTL')
else
    -- Always writes something, because WAIT waits for the last write of the connection.
    redis.call('PEXPIRE', KEYS[1], redis.call('PTTL', KEYS[1]))
end
return 1
