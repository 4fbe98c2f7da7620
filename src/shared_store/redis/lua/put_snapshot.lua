-- Replaces a snapshot of a lower version; makes a generation where there is none.
-- KEYS: user
-- ARGV: random generation, how long to keep it at least, version, snapshot
local generation, known, snapshot = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) ?(%S*) ?(.*)$')
-- Redis refuses what may take memory where that is full, unless the script has written before. A change of password or
-- permissions must pass; documents must not grow then, but for small ones.
if #ARGV[4] <= math.max(#(snapshot or ''), 512) then redis.call('DEL', KEYS[1] .. '-') end
if not generation then
    redis.call('SET', KEYS[1], table.concat({ARGV[1], ARGV[3], ARGV[4]}, ' '), 'PX', ARGV[2])
elseif known == '' or tonumber(known) < tonumber(ARGV[3]) then
    redis.call('SET', KEYS[1], table.concat({generation, ARGV[3], ARGV[4]}, ' '), 'KEEPTTL')
else
    -- Written in any case: the wait for replicas is for the connection's last write.
    redis.call('PEXPIRE', KEYS[1], redis.call('PTTL', KEYS[1]))
end
return 1
